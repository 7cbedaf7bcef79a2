/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Numbers and names of interfaces, from the kernel. Guarantees that nothing
 * that came is missed without saying so. Leaves out what becomes of them.
 */
#include "capture/interface_names.h"

#include "packet/capture_tail.h"

#include <errno.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

bool interface_names_open(struct interface_names *n, struct err *e)
{
	struct sockaddr_nl to = {.nl_family = AF_NETLINK,
				 .nl_groups = RTMGRP_LINK};

	n->fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK,
		       NETLINK_ROUTE);
	if (n->fd >= 0 && bind(n->fd, (struct sockaddr *)&to, sizeof(to)) == 0)
		return true;
	err_errno(e, "watch for names of network interfaces");
	interface_names_close(n);
	return false;
}

void interface_names_close(struct interface_names *n)
{
	if (n->fd >= 0)
		close(n->fd);
	n->fd = -1;
}

/* false: it tells of no name. */
static bool interface_names_read(const struct nlmsghdr *h,
				 struct interface_name *out)
{
	const struct ifinfomsg *info = NLMSG_DATA(h);
	int left = (int)IFLA_PAYLOAD(h);

	if (h->nlmsg_type != RTM_NEWLINK)
		return false;
	for (const struct rtattr *a = IFLA_RTA(info); RTA_OK(a, left);
	     a = RTA_NEXT(a, left)) {
		size_t room = sizeof(out->name), n = RTA_PAYLOAD(a);

		if (a->rta_type != IFLA_IFNAME || n > room)
			continue;
		memset(out->name, 0, room);
		memcpy(out->name, RTA_DATA(a), n);
		out->name[room - 1] = '\0';
		out->index = (uint32_t)info->ifi_index;
		out->since_ns = realtime_ns();
		return true;
	}
	return false;
}

size_t interface_names_news(struct interface_names *n,
			    struct interface_name *out, size_t room,
			    bool *missed)
{
	_Alignas(struct nlmsghdr) char bytes[16384];
	size_t count = 0;

	*missed = false;
	while (n->fd >= 0 && count < room) {
		/* The kernel sends one message of these at a time. */
		ssize_t got = recv(n->fd, bytes, sizeof(bytes), 0);

		if (got < 0 && errno == ENOBUFS)
			*missed = true;
		else if (got <= 0 && errno != EINTR)
			break;
		unsigned left = got > 0 ? (unsigned)got : 0;
		for (const struct nlmsghdr *h = (struct nlmsghdr *)bytes;
		     count < room && NLMSG_OK(h, left); h = NLMSG_NEXT(h, left))
			count += interface_names_read(h, &out[count]);
	}
	return count;
}

struct interface_name *interface_names_all(size_t *n)
{
	struct if_nameindex *all = if_nameindex();
	size_t count = 0;

	*n = 0;
	while (all && all[count].if_index)
		count++;
	struct interface_name *made = calloc(count + 1, sizeof(*made));
	for (size_t i = 0; made && i < count; i++) {
		made[i].index = all[i].if_index;
		made[i].since_ns = realtime_ns();
		strncpy(made[i].name, all[i].if_name, sizeof(made[i].name) - 1);
	}
	if (all)
		if_freenameindex(all);
	if (made)
		*n = count;
	return all ? made : (free(made), NULL);
}
