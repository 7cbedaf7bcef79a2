/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How old the packets of a savefile are when its bytes arrive on stdin: the
 * reader at the end of `pcap listen`. Says packets, and of their ages in
 * milliseconds the middle, the 99th and 99.9th of a hundred, and the largest,
 * as JSON. Leaves out what the packets are.
 */
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define BYTES (4u << 20)
#define STEP_NS 10000 /* what two ages may differ by and count as one */
#define STEPS 1000000 /* ten seconds */

static uint8_t bytes[BYTES];
static uint64_t ages[STEPS + 1], packets;

static int64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return t.tv_sec * 1000000000ll + t.tv_nsec;
}

static void count(int64_t ns)
{
	int64_t step = ns < 0 ? 0 : ns / STEP_NS;

	ages[step < STEPS ? step : STEPS]++;
	packets++;
}

/* Returns how many of n bytes were whole packets. */
static size_t take(size_t n, int64_t now)
{
	uint32_t head[4];
	size_t at = 0;

	while (n - at >= sizeof(head)) {
		memcpy(head, bytes + at, sizeof(head));
		if (n - at < sizeof(head) + head[2])
			break;
		count(now - (head[0] * 1000000000ll + head[1]));
		at += sizeof(head) + head[2];
	}
	return at;
}

static double age_of(double part)
{
	uint64_t upto = (uint64_t)((double)packets * part), sum = 0;

	for (size_t i = 0; i <= STEPS; i++) {
		sum += ages[i];
		if (sum > upto || sum == packets)
			return (double)(i + 1) * STEP_NS / 1e6;
	}
	return 0;
}

int main(void)
{
	size_t have = 0, skip = 24;
	ssize_t n;

	while ((n = read(STDIN_FILENO, bytes + have, BYTES - have)) > 0) {
		int64_t now = now_ns();

		have += (size_t)n;
		if (skip) {
			if (have < skip)
				continue;
			have -= skip;
			memmove(bytes, bytes + skip, have);
			skip = 0;
		}
		size_t done = take(have, now);
		have -= done;
		memmove(bytes, bytes + done, have);
	}
	printf("{\"packets\": %" PRIu64 ", \"p50_ms\": %.2f, \"p99_ms\": %.2f, "
	       "\"p999_ms\": %.2f, \"most_ms\": %.2f}\n",
	       packets, age_of(0.5), age_of(0.99), age_of(0.999), age_of(1));
	return n < 0;
}
