/* SPDX-License-Identifier: BSD-3-Clause */
/* OpenSSL's, in a file of its own: its ERR_STATE is not ours (base/err.h). */
#include "base/base64.h"

#include <openssl/evp.h>

void base64(char *text, const uint8_t *bytes, size_t n)
{
	int length = EVP_EncodeBlock((unsigned char *)text, bytes, (int)n);

	while (length > 0 && text[length - 1] == '=')
		length--;
	text[length] = '\0';
}
