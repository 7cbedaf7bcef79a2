/*
 * The interfaces that one can capture on. Guarantees libpcap's list, as
 * tcpdump -D shows it, with "any" at the end. Leaves out interfaces whose
 * names are too long to be asked for.
 */
#include "capture.h"

#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

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

static struct interface describe(const pcap_if_t *i)
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
		if (strcmp(i->name, "any") == 0)
			any = i;
		else if (strlen(i->name) < CAPTURE_INTERFACE_MAX)
			made[count++] = describe(i);
	}
	if (any)
		made[count++] = describe(any);
	pcap_freealldevs(all);
	*n = count;
	return made;
}
