/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Interfaces come and go: the kernel tells. Guarantees that a change is never
 * missed: messages that were lost are replaced by a look. Leaves out devices
 * of libpcap that are no network interfaces; those never have an index.
 */
#include "capture/netlink_watch.h"

#include <errno.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

/* true: it has changed. */
static bool netlink_watch_look(struct netlink_watch *l)
{
	struct ifreq ask;
	unsigned index = if_nametoindex(l->name);
	bool up = false;

	memset(&ask, 0, sizeof(ask));
	memcpy(ask.ifr_name, l->name, sizeof(ask.ifr_name));
	if (index) {
		int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
		up = fd >= 0 && ioctl(fd, SIOCGIFFLAGS, &ask) == 0 &&
		     ask.ifr_flags & IFF_UP;
		if (fd >= 0)
			close(fd);
	}
	bool changed = index != l->index || up != l->up;
	l->index = index;
	l->up = up;
	return changed;
}

bool netlink_watch_open(struct netlink_watch *l, const char *name,
			struct err *e)
{
	struct sockaddr_nl to = {.nl_family = AF_NETLINK,
				 .nl_groups = RTMGRP_LINK};

	memset(l, 0, sizeof(*l));
	/* A longer name is no interface's. */
	if (strlen(name) < sizeof(l->name))
		strcpy(l->name, name);
	l->fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK,
		       NETLINK_ROUTE);
	if (l->fd < 0 || bind(l->fd, (struct sockaddr *)&to, sizeof(to)) < 0) {
		err_errno(e, "watch the network interfaces");
		netlink_watch_close(l);
		return false;
	}
	/* Subscribed first, so that nothing falls in between. */
	netlink_watch_look(l);
	return true;
}

void netlink_watch_close(struct netlink_watch *l)
{
	if (l->fd > 0)
		close(l->fd);
	l->fd = -1;
}

static const char *name_of(const struct nlmsghdr *h)
{
	const struct ifinfomsg *info = NLMSG_DATA(h);
	int left = (int)IFLA_PAYLOAD(h);

	for (const struct rtattr *a = IFLA_RTA(info); RTA_OK(a, left);
	     a = RTA_NEXT(a, left))
		if (a->rta_type == IFLA_IFNAME)
			return RTA_DATA(a);
	return "";
}

/* A message about ours: it bears the name, or bore it. *gone: it was away, if
 * only for a moment. */
static bool netlink_watch_concerns(const struct netlink_watch *l,
				   const struct nlmsghdr *h, bool *gone)
{
	const struct ifinfomsg *info = NLMSG_DATA(h);

	if (h->nlmsg_type != RTM_NEWLINK && h->nlmsg_type != RTM_DELLINK)
		return false;
	bool same_name = strncmp(name_of(h), l->name, IFNAMSIZ) == 0;
	bool same_index = l->index && (unsigned)info->ifi_index == l->index;
	/* A bridge says that a port left it with RTM_DELLINK, too. */
	if (same_index && info->ifi_family == AF_UNSPEC)
		*gone = *gone || h->nlmsg_type == RTM_DELLINK || !same_name ||
			!(info->ifi_flags & IFF_UP);
	return same_name || same_index;
}

bool netlink_watch_read(struct netlink_watch *l)
{
	_Alignas(struct nlmsghdr) char bytes[16384];
	bool ours = false, gone = false;

	for (;;) {
		ssize_t n = recv(l->fd, bytes, sizeof(bytes), 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == ENOBUFS) {
			ours = true;
			continue;
		}
		if (n <= 0)
			break;
		unsigned left = (unsigned)n;
		for (const struct nlmsghdr *h = (struct nlmsghdr *)bytes;
		     NLMSG_OK(h, left); h = NLMSG_NEXT(h, left))
			ours = netlink_watch_concerns(l, h, &gone) || ours;
	}
	bool was_up = l->up;
	return ours && (netlink_watch_look(l) || (gone && was_up));
}

static uint32_t netlink_watch_packet_max_of(const struct nlmsghdr *h)
{
	const struct ifinfomsg *info = NLMSG_DATA(h);
	int left = (int)IFLA_PAYLOAD(h);
	uint32_t longest = 0, n;

	if (h->nlmsg_type != RTM_NEWLINK)
		return UINT32_MAX;
	for (const struct rtattr *a = IFLA_RTA(info); RTA_OK(a, left);
	     a = RTA_NEXT(a, left)) {
		/* Those of IPv4 alone are not larger. */
		if (a->rta_type != IFLA_MTU &&
		    a->rta_type != IFLA_GSO_MAX_SIZE &&
		    a->rta_type != IFLA_GRO_MAX_SIZE)
			continue;
		memcpy(&n, RTA_DATA(a), sizeof(n));
		longest = n > longest ? n : longest;
	}
	return longest;
}

uint32_t netlink_watch_packet_max(unsigned index)
{
	struct {
		struct nlmsghdr h;
		struct ifinfomsg info;
	} ask = {
		.h = {.nlmsg_len = sizeof(ask),
		      .nlmsg_type = RTM_GETLINK,
		      .nlmsg_flags = NLM_F_REQUEST},
		.info = {.ifi_index = (int)index},
	};
	_Alignas(struct nlmsghdr) char bytes[32768];
	uint32_t longest = UINT32_MAX;
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK,
			NETLINK_ROUTE);

	/* The answer is there when send returns. */
	if (fd >= 0 && send(fd, &ask, sizeof(ask), 0) == sizeof(ask)) {
		ssize_t n = recv(fd, bytes, sizeof(bytes), 0);
		const struct nlmsghdr *h = (struct nlmsghdr *)bytes;

		if (n > 0 && NLMSG_OK(h, (unsigned)n))
			longest = netlink_watch_packet_max_of(h);
	}
	if (fd >= 0)
		close(fd);
	return longest;
}
