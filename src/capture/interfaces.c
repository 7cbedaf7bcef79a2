/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The interfaces that one can capture on. Guarantees libpcap's list, as
 * tcpdump -D shows it, with "any" at the end, of what interface_check lets
 * through. Leaves out interfaces whose names are too long to be asked for.
 */
#include "capture/capture.h"

#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

static atomic_bool others_allowed;

/* Kinds of libpcap's devices, and what may follow in their names. */
static const struct {
	const char *kind, *rest;
} device_kinds[] = {
	{"usbmon", "0123456789"},
	{"nflog", ":,0123456789"},
	{"nfqueue", ":,0123456789"},
	{"bluetooth", "-monitr0123456789"},
};

static bool device_is_known(const char *name)
{
	for (size_t i = 0; i < sizeof(device_kinds) / sizeof(*device_kinds);
	     i++) {
		size_t n = strlen(device_kinds[i].kind);

		if (strncmp(name, device_kinds[i].kind, n) == 0 &&
		    strspn(name + n, device_kinds[i].rest) == strlen(name + n))
			return true;
	}
	return false;
}

/* Of libpcap's kinds that are never wanted; an interface of the kernel could
 * have such a name, and libpcap would take it for one of these. */
static bool device_is_barred(const char *name)
{
	static const char *const barred[] = {
		"dbus", "dag", "snf", "septel", "netmap:", "vale", "dpdk:"};

	for (size_t i = 0; i < sizeof(barred) / sizeof(*barred); i++)
		if (strncmp(name, barred[i], strlen(barred[i])) == 0)
			return true;
	return false;
}

void interface_configure(bool other_devices)
{
	atomic_store(&others_allowed, other_devices);
}

bool interface_check(const char *name, struct err *e)
{
	if (device_is_known(name)) {
		if (atomic_load(&others_allowed))
			return true;
		err_set(e, ERR_PERMISSION,
			"open %s: it is no network interface, and "
			"other-devices is off",
			name);
		return err_hint(e, "An administrator allows such devices in "
				   "pcapd.conf(5).");
	}
	if (strcmp(name, "any") == 0 ||
	    (if_nametoindex(name) && !device_is_barred(name)))
		return true;
	err_set(e, ERR_NOT_FOUND, "open %s: no such interface", name);
	return err_hint(e, "List interfaces with 'pcap interfaces'.");
}

bool interface_may_come(const char *name, struct err *e)
{
	static const char good[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
				   "abcdefghijklmnopqrstuvwxyz"
				   "0123456789._-";
	size_t n = strlen(name);

	if (device_is_known(name) || device_is_barred(name)) {
		err_set(e, ERR_NOT_FOUND, "open %s: no such interface", name);
		return err_hint(e, "List interfaces with 'pcap interfaces'.");
	}
	if (n == 0 || n >= IF_NAMESIZE || strspn(name, good) != n ||
	    strchr(".-", *name)) {
		err_set(e, ERR_NOT_FOUND,
			"open %s: no such interface, and none that may come",
			name);
		return err_hint(e,
				"Expected the name of an interface, 'any', or "
				"1 to %d of A-Z a-z 0-9 . _ - for one that is "
				"not there yet.",
				IF_NAMESIZE - 1);
	}
	if (bpf_filter_is_name(name))
		return true;
	err_set(e, ERR_NOT_FOUND,
		"open %s: no such interface, but a word of filters", name);
	return err_hint(e, "The first word is the interface ('pcap "
			   "interfaces' lists them), 'any' means all.");
}

static void add_addresses(struct interface *to, const pcap_addr_t *a)
{
	const unsigned max = sizeof(to->addresses) / sizeof(to->addresses[0]);

	for (; a && to->n_addresses < max; a = a->next) {
		char *text = to->addresses[to->n_addresses];
		int family = a->addr ? a->addr->sa_family : AF_UNSPEC;

		if (family != AF_INET && family != AF_INET6)
			continue;
		if (getnameinfo(a->addr,
				family == AF_INET ? sizeof(struct sockaddr_in)
						  : sizeof(struct sockaddr_in6),
				text, sizeof(to->addresses[0]), NULL, 0,
				NI_NUMERICHOST) == 0)
			to->n_addresses++;
	}
}

static struct interface capture_interfaces_describe(const pcap_if_t *i)
{
	struct interface made = {
		.up = i->flags & PCAP_IF_UP,
		.running = i->flags & PCAP_IF_RUNNING,
		.loopback = i->flags & PCAP_IF_LOOPBACK,
	};

	snprintf(made.name, sizeof(made.name), "%s", i->name);
	snprintf(made.description, sizeof(made.description), "%s",
		 i->description ? i->description : "");
	add_addresses(&made, i->addresses);
	return made;
}

struct interface *interfaces_list(size_t *n, struct err *e)
{
	char why[PCAP_ERRBUF_SIZE];
	const pcap_if_t *any = NULL;
	pcap_if_t *all;
	size_t max = 1, count = 0;

	if (pcap_findalldevs(&all, why) != 0) {
		err_set(e, ERR_FAILED, "list interfaces: %s", why);
		return NULL;
	}
	for (const pcap_if_t *i = all; i; i = i->next)
		max++;
	struct interface *made = calloc(max, sizeof(*made));
	if (!made) {
		err_errno(e, "list interfaces");
		pcap_freealldevs(all);
		return NULL;
	}
	for (const pcap_if_t *i = all; i; i = i->next) {
		struct err ignored;

		if (strcmp(i->name, "any") == 0)
			any = i;
		else if (strlen(i->name) < CAPTURE_INTERFACE_MAX &&
			 interface_check(i->name, &ignored))
			made[count++] = capture_interfaces_describe(i);
	}
	if (any)
		made[count++] = capture_interfaces_describe(any);
	pcap_freealldevs(all);
	*n = count;
	return made;
}
