/* SPDX-License-Identifier: BSD-3-Clause */
/* Section 10 of RFC 4648, without its padding. */
#include "base/base64.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static void the_vectors_of_the_rfc(void **state)
{
	static const char *const vectors[] = {
		"", "Zg", "Zm8", "Zm9v", "Zm9vYg", "Zm9vYmE", "Zm9vYmFy"};
	char text[BASE64_ROOM(6)];

	(void)state;
	for (size_t n = 0; n <= 6; n++) {
		memset(text, 'x', sizeof(text));
		base64(text, (const uint8_t *)"foobar", n);
		assert_string_equal(text, vectors[n]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_vectors_of_the_rfc),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
