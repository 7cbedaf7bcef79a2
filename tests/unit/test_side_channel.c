/* SPDX-License-Identifier: BSD-3-Clause */
/* The line of a data connection. */
#include "server/proxy_protocol.h"
#include "server/side_channel.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static const char good[DATA_LINE_BYTES + 1] =
	"PCAPD-DATA 00112233445566778899aabbccddeeff\n";

static void a_line_is_known_as_soon_as_it_can_be(void **state)
{
	(void)state;
	for (size_t n = 1; n <= DATA_LINE_BYTES; n++) {
		char other[DATA_LINE_BYTES];

		assert_int_equal(side_channel_line(good, n),
				 n < DATA_LINE_BYTES ? -1 : DATA_LINE_BYTES);
		memcpy(other, good, n);
		other[n - 1] ^= 1;
		/* Within the word it is somebody else's. */
		assert_int_equal(side_channel_line(other, n) == 0, n <= 11);
	}
	/* What follows is not looked at. */
	assert_int_equal(
		side_channel_line("PCAPD-DATA "
				  "0\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n"
				  "\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n",
				  54),
		DATA_LINE_BYTES);
	assert_int_equal(side_channel_line("PRI * HTTP/2.0\r\n", 16), 0);
	assert_int_equal(side_channel_line("PROXY TCP4 ", 11), 0);
	assert_int_equal(proxy_protocol_line(good, DATA_LINE_BYTES), 0);
}

static void a_line_names_its_ticket(void **state)
{
	uint8_t ticket[TICKET_BYTES];

	(void)state;
	assert_true(side_channel_parse(good, ticket));
	for (unsigned i = 0; i < TICKET_BYTES; i++)
		assert_int_equal(ticket[i], i * 0x11);
}

static void every_digit_has_to_be_one(void **state)
{
	static const char bad[] = {0,	'\n', ' ', '/', ':',	'@',   'A',
				   'F', '`',  'g', 'x', '\x7f', '\xff'};
	uint8_t ticket[TICKET_BYTES];

	(void)state;
	for (size_t at = 11; at < DATA_LINE_BYTES; at++)
		for (size_t i = 0; i < sizeof(bad); i++) {
			char line[DATA_LINE_BYTES];

			memcpy(line, good, sizeof(line));
			line[at] = bad[i];
			assert_int_equal(side_channel_parse(line, ticket),
					 at == DATA_LINE_BYTES - 1 &&
						 bad[i] == '\n');
		}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_line_is_known_as_soon_as_it_can_be),
		cmocka_unit_test(a_line_names_its_ticket),
		cmocka_unit_test(every_digit_has_to_be_one),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
