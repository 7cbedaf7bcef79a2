/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How old what is stored is. Guarantees that a wall clock that is wrong for a
 * moment makes nothing older than it is. Leaves out the time for which pcapd
 * was not there, until the wall clock is believed.
 */
#include "store/age.h"

#include "packet/block.h"

void age_begin(struct age_clock *c, struct clocks now, int64_t last_ns)
{
	*c = (struct age_clock){
		.age_ns = last_ns ? last_ns : now.real_ns,
		.boot_ns = now.boot_ns,
	};
}

int64_t age_now(struct age_clock *c, struct clocks now, int64_t *doubt_ns)
{
	*doubt_ns = 0;
	c->age_ns += now.boot_ns - c->boot_ns;
	c->boot_ns = now.boot_ns;
	int64_t ahead = now.real_ns - c->age_ns;
	if (ahead <= AGE_SLACK_NS) {
		c->ahead_ns = 0;
		if (ahead > 0)
			c->age_ns = now.real_ns;
		return c->age_ns;
	}
	/* Set once more while it is doubted. */
	if (!c->ahead_ns || ahead - c->ahead_ns > AGE_SLACK_NS) {
		c->ahead_ns = *doubt_ns = ahead;
		c->ahead_boot_ns = now.boot_ns;
	}
	int64_t wait = ahead < AGE_DOUBT_NS ? ahead : AGE_DOUBT_NS;
	if (now.boot_ns - c->ahead_boot_ns >= wait) {
		c->age_ns = now.real_ns;
		c->ahead_ns = 0;
	}
	return c->age_ns;
}
