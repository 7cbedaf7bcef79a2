/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The kernel's ring. Guarantees that no packet is in it which the filter did
 * not see: until it is to listen, one that takes nothing is attached. Leaves
 * out every link type that needs a header made or mended.
 */
#include "capture/ring.h"

#include "capture/bpf_exclude.h"
#include "capture/netlink_watch.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

/* Fewer and larger ones mean fewer wakeups. No packet is longer; and as the
 * clock hands over blocks that are not full, their number is how long the ring
 * waits for a reader. */
#define RING_BLOCK_MAX (512u << 10)
#define RING_BLOCKS_MIN 4
/* 64 KiB and a header in front, as offloads make them, do not fit into half of
 * that. */
#define RING_BLOCK_SMALL (128u << 10)
/* What a block has besides a packet: its own header, the packet's (116 bytes
 * with a tag), and what they are aligned to. */
#define RING_OVERHEAD 512
#define FRAME_BYTES 2048 /* only has to divide a block */
#define TAG_BYTES 4
#define TAG_AT (2 * ETH_ALEN)

struct ring {
	int fd;
	char interface[CAPTURE_INTERFACE_MAX];
	int index;
	uint32_t snaplen;
	bool loopback, promiscuous, small;
	uint8_t *blocks;
	size_t bytes;
	uint32_t block_bytes, n_blocks;
	/* Where reading is: the block, and of it the next packet. */
	uint32_t block, left;
	struct tpacket3_hdr *next;
	bool down;	   /* the kernel said so, nobody asked yet */
	bool busy;	   /* a block was filled, nobody asked yet */
	bool ended;	   /* the kernel puts nothing into it any more */
	int error;	   /* what else it said */
	uint64_t accepted; /* by the kernel */
	uint64_t taken;
	struct loss lost; /* nobody took it yet */
	struct reading counted;
	int64_t clean_ns; /* nothing was lost before that packet, as of counted
			   */
};

/* --- opening --- */

/* As libpcap finds it out: of what a switch's interfaces carry it knows more,
 * and ISDN is not what it says. */
static bool is_ethernet(struct ring *r)
{
	char path[CAPTURE_INTERFACE_MAX + 64];
	struct ifreq q = {0};

	snprintf(q.ifr_name, sizeof(q.ifr_name), "%.*s", IFNAMSIZ - 1,
		 r->interface);
	snprintf(path, sizeof(path), "/sys/class/net/%s/dsa", r->interface);
	if (access(path, F_OK) == 0 || strncmp(r->interface, "isd", 3) == 0 ||
	    ioctl(r->fd, SIOCGIFHWADDR, &q) != 0)
		return false;
	r->loopback = q.ifr_hwaddr.sa_family == ARPHRD_LOOPBACK;
	return r->loopback || q.ifr_hwaddr.sa_family == ARPHRD_ETHER;
}

static bool is_up(const struct ring *r)
{
	struct ifreq q = {0};

	snprintf(q.ifr_name, sizeof(q.ifr_name), "%.*s", IFNAMSIZ - 1,
		 r->interface);
	if (ioctl(r->fd, SIOCGIFFLAGS, &q) != 0)
		return false;
	errno = ENETDOWN;
	return q.ifr_flags & IFF_UP;
}

static bool ring_set(const struct ring *r, int option, const void *value,
		     size_t n)
{
	return setsockopt(r->fd, SOL_PACKET, option, value, (socklen_t)n) == 0;
}

static bool map_blocks(struct ring *r, uint64_t buffer_bytes)
{
	const int version = TPACKET_V3, reserve = TAG_BYTES;

	r->block_bytes = r->small ? RING_BLOCK_SMALL : RING_BLOCK_MAX;
	while (buffer_bytes / r->block_bytes < RING_BLOCKS_MIN)
		r->block_bytes /= 2;
	r->n_blocks = (uint32_t)(buffer_bytes / r->block_bytes);
	struct tpacket_req3 q = {
		.tp_block_size = r->block_bytes,
		.tp_block_nr = r->n_blocks,
		.tp_frame_size = FRAME_BYTES,
		.tp_frame_nr = r->block_bytes / FRAME_BYTES * r->n_blocks,
		.tp_retire_blk_tov = SOURCE_TIMEOUT_MS,
	};
	if (!ring_set(r, PACKET_VERSION, &version, sizeof(version)) ||
	    !ring_set(r, PACKET_RESERVE, &reserve, sizeof(reserve)) ||
	    !ring_set(r, PACKET_RX_RING, &q, sizeof(q)))
		return false;
	r->bytes = (size_t)r->block_bytes * r->n_blocks;
	void *at = mmap(NULL, r->bytes, PROT_READ | PROT_WRITE, MAP_SHARED,
			r->fd, 0);
	if (at == MAP_FAILED)
		return false;
	r->blocks = at;
	return true;
}

static bool attach_nothing(const struct ring *r)
{
	const struct bpf_insn none = BPF_STMT(BPF_RET | BPF_K, 0);

	return bpf_exclude_attach(r->fd, &none, 1);
}

static bool bind_to_interface(struct ring *r)
{
	struct packet_mreq m = {.mr_ifindex = r->index,
				.mr_type = PACKET_MR_PROMISC};
	struct sockaddr_ll to = {.sll_family = AF_PACKET,
				 .sll_protocol = htons(ETH_P_ALL),
				 .sll_ifindex = r->index};
	int error;
	socklen_t n = sizeof(error);

	if (r->promiscuous &&
	    !ring_set(r, PACKET_ADD_MEMBERSHIP, &m, sizeof(m)))
		return false;
	return bind(r->fd, (struct sockaddr *)&to, sizeof(to)) == 0 &&
	       getsockopt(r->fd, SOL_SOCKET, SO_ERROR, &error, &n) == 0 &&
	       error == 0;
}

struct ring *ring_open(const struct capture_options *o, uint64_t buffer_bytes,
		       bool small)
{
	struct ring *r = calloc(1, sizeof(*r));

	if (!r)
		return NULL;
	memcpy(r->interface, o->interface, sizeof(r->interface));
	r->snaplen = o->snaplen;
	r->promiscuous = o->promiscuous;
	r->small = small;
	r->index = (int)if_nametoindex(o->interface);
	/* Without a protocol it is deaf until it is bound. */
	r->fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (r->fd >= 0 && r->index > 0 && is_ethernet(r) && is_up(r) &&
	    map_blocks(r, buffer_bytes) && attach_nothing(r) &&
	    bind_to_interface(r))
		return r;
	int error = errno;
	ring_close(r);
	errno = error;
	return NULL;
}

bool ring_may_be_small(const struct capture_options *o)
{
	uint32_t longest =
		netlink_watch_packet_max(if_nametoindex(o->interface));

	if (longest > o->snaplen)
		longest = o->snaplen;
	return longest + RING_OVERHEAD <= RING_BLOCK_SMALL;
}

bool ring_listen(struct ring *r, const struct bpf_insn *filter, unsigned n)
{
	reading_add(&r->counted, &r->lost, 0, 0);
	return bpf_exclude_attach(r->fd, filter, n);
}

bool ring_join(struct ring *r, const struct ring *first)
{
	uint32_t how = PACKET_FANOUT_CBPF << 16, with = 0;
	socklen_t n = sizeof(with);

	if (!first)
		how |= PACKET_FANOUT_FLAG_UNIQUEID << 16;
	else if (getsockopt(first->fd, SOL_PACKET, PACKET_FANOUT, &with, &n) !=
		 0)
		return false;
	how |= with & 0xffff;
	return ring_set(r, PACKET_FANOUT, &how, sizeof(how));
}

/*
 * The kernel takes the number that the program returns modulo the number of
 * rings in the group. It changes programs between two packets and comes back
 * when no packet is on its way by the one of before.
 */
bool ring_choose(struct ring *r, unsigned first, unsigned n)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
			 (uint32_t)(SKF_AD_OFF + SKF_AD_CPU)),
		BPF_STMT(BPF_ALU | BPF_MOD | BPF_K, n),
		BPF_STMT(BPF_ALU | BPF_ADD | BPF_K, first),
		BPF_STMT(BPF_RET | BPF_A, 0),
	};
	struct sock_fprog program = {.len = sizeof(code) / sizeof(*code),
				     .filter = code};

	return ring_set(r, PACKET_FANOUT_DATA, &program, sizeof(program));
}

void ring_close(struct ring *r)
{
	if (!r)
		return;
	if (r->blocks)
		munmap(r->blocks, r->bytes);
	if (r->fd >= 0)
		close(r->fd);
	free(r);
}

/* --- the interface --- */

int ring_fd(const struct ring *r)
{
	return r->fd;
}

static void listen_for_errors(struct ring *r)
{
	int error = 0;
	socklen_t n = sizeof(error);

	getsockopt(r->fd, SOL_SOCKET, SO_ERROR, &error, &n);
	if (error == ENETDOWN)
		r->down = true;
	else if (error)
		r->error = error;
}

/* Called when there is nothing to take. Down is not gone; who is told by the
 * kernel which of them it is closes the source. */
static bool ring_look(struct ring *r, struct err *e)
{
	listen_for_errors(r);
	return !r->error ||
	       err_set(e, ERR_FAILED, "read packets: %s", strerror(r->error));
}

/* --- packets --- */

static struct tpacket_block_desc *block_of(const struct ring *r, uint32_t i)
{
	return (void *)(r->blocks + (size_t)i * r->block_bytes);
}

/* The kernel hands over whole blocks, in order. */
static bool ring_is_ours(const struct tpacket_block_desc *b)
{
	return __atomic_load_n(&b->hdr.bh1.block_status, __ATOMIC_ACQUIRE) &
	       TP_STATUS_USER;
}

/*
 * When the kernel ends a block it says whether it dropped something since its
 * counter was read: without a word, nothing was lost before the block's last
 * packet.
 */
static bool is_clean(const struct tpacket_block_desc *b)
{
	return !(b->hdr.bh1.block_status & TP_STATUS_LOSING);
}

static int64_t last_of(const struct tpacket_block_desc *b)
{
	const struct tpacket_bd_ts *t = &b->hdr.bh1.ts_last_pkt;

	return (int64_t)t->ts_sec * NS_PER_S + t->ts_nsec;
}

/* The kernel forgets what it told. */
static bool ring_count(struct ring *r)
{
	struct tpacket_stats_v3 s;
	socklen_t n = sizeof(s);

	/* What lies in the ring is older than what found no room in it. */
	for (uint32_t i = 0; i < r->n_blocks; i++) {
		const struct tpacket_block_desc *b =
			block_of(r, (r->block + i) % r->n_blocks);

		if (!ring_is_ours(b))
			break;
		if (is_clean(b) && b->hdr.bh1.num_pkts)
			r->clean_ns = last_of(b);
	}
	if (getsockopt(r->fd, SOL_PACKET, PACKET_STATISTICS, &s, &n) != 0)
		return false;
	r->accepted += s.tp_packets - s.tp_drops;
	reading_add(&r->counted, &r->lost, s.tp_drops, r->clean_ns);
	return true;
}

/*
 * The block that the kernel was filling when the ring ended, which it hands
 * over by the clock: nobody writes packets into it any more. Everything before
 * it was taken, so what is left has to be what it says that it has.
 */
static bool is_last(struct ring *r, const struct tpacket_block_desc *b)
{
	return r->ended && ring_count(r) && b->hdr.bh1.num_pkts &&
	       r->accepted - r->taken == b->hdr.bh1.num_pkts;
}

static bool is_ours_at(const struct ring *r, uint32_t ahead)
{
	return ring_is_ours(block_of(r, (r->block + ahead) % r->n_blocks));
}

static bool ring_next_block(struct ring *r)
{
	struct tpacket_block_desc *b = block_of(r, r->block);

	if (!ring_is_ours(b) && !is_last(r, b))
		return false;
	if (!(b->hdr.bh1.block_status & TP_STATUS_BLK_TMO) && ring_is_ours(b))
		r->busy = true;
	/* Whoever gets these packets can know what is missing before them. */
	if (!is_clean(b))
		ring_count(r);
	else if (b->hdr.bh1.num_pkts && ring_is_ours(b))
		r->clean_ns = last_of(b);
	r->left = b->hdr.bh1.num_pkts;
	r->next = (struct tpacket3_hdr *)((uint8_t *)b +
					  b->hdr.bh1.offset_to_first_pkt);
	return true;
}

static void ring_give_back(struct ring *r)
{
	struct tpacket_block_desc *b = block_of(r, r->block);

	__atomic_store_n(&b->hdr.bh1.block_status, TP_STATUS_KERNEL,
			 __ATOMIC_RELEASE);
	r->block = (r->block + 1) % r->n_blocks;
	r->next = NULL;
}

/* The next one is done with. */
static void ring_pass(struct ring *r)
{
	r->taken++;
	r->next = (struct tpacket3_hdr *)((uint8_t *)r->next +
					  r->next->tp_next_offset);
	if (--r->left == 0)
		ring_give_back(r);
}

static int64_t ring_time_of(const struct tpacket3_hdr *t)
{
	return (int64_t)t->tp_sec * NS_PER_S + t->tp_nsec;
}

/* There is room in front: PACKET_RESERVE. */
static uint8_t *put_tag(struct packet_head *h, const struct tpacket3_hdr *t,
			uint8_t *body)
{
	uint16_t tag[2] = {htons(t->tp_status & TP_STATUS_VLAN_TPID_VALID
					 ? t->hv1.tp_vlan_tpid
					 : ETH_P_8021Q),
			   htons((uint16_t)t->hv1.tp_vlan_tci)};

	_Static_assert(sizeof(tag) == TAG_BYTES, "as on the wire");
	if (h->caplen < TAG_AT)
		return body;
	memmove(body - TAG_BYTES, body, TAG_AT);
	body -= TAG_BYTES;
	memcpy(body + TAG_AT, tag, TAG_BYTES);
	h->caplen += TAG_BYTES;
	h->len += TAG_BYTES;
	return body;
}

static bool is_copy(const struct ring *r, const struct tpacket3_hdr *t)
{
	const struct sockaddr_ll *from =
		(const void *)((const uint8_t *)t + TPACKET_ALIGN(sizeof(*t)));

	return r->loopback && from->sll_pkttype == PACKET_OUTGOING;
}

/* false: stop after this one. */
static bool hand_over(struct ring *r, const struct tpacket3_hdr *t,
		      source_packet packet, void *ctx)
{
	uint8_t *body = (uint8_t *)t + t->tp_mac;
	struct packet_head h = {.sec = t->tp_sec,
				.nsec = t->tp_nsec,
				.caplen = t->tp_snaplen,
				.len = t->tp_len};

	/* Longer ones may follow. */
	if (__builtin_expect(h.len > RING_BLOCK_SMALL / 2, 0))
		r->busy = true;
	if (t->hv1.tp_vlan_tci || (t->tp_status & TP_STATUS_VLAN_VALID))
		body = put_tag(&h, t, body);
	if (h.caplen > r->snaplen)
		h.caplen = r->snaplen;
	return packet(ctx, &h, body);
}

/* The next packet that is one; blocks without one are given back. */
static struct tpacket3_hdr *next_packet(struct ring *r)
{
	while (r->next || ring_next_block(r)) {
		struct tpacket3_hdr *t = r->next;

		/* A block that the clock ended may be empty. */
		if (r->left > 0 && !is_copy(r, t))
			return t;
		if (r->left > 0)
			ring_pass(r);
		else
			ring_give_back(r);
	}
	return NULL;
}

bool ring_head(struct ring *r, int64_t *ns)
{
	const struct tpacket3_hdr *t = next_packet(r);

	if (t)
		*ns = ring_time_of(t);
	return t;
}

int ring_take(struct ring *r, int max, int64_t until_ns, source_packet packet,
	      void *ctx, struct err *e)
{
	struct tpacket3_hdr *t;
	bool more = true;
	int n = 0;

	while (more && n < max && (t = next_packet(r)) &&
	       ring_time_of(t) <= until_ns) {
		block_ask((const uint8_t *)t + BLOCK_AHEAD,
			  t->tp_mac + t->tp_snaplen, false);
		more = hand_over(r, t, packet, ctx);
		n++;
		ring_pass(r);
	}
	if (n == 0 && !ring_look(r, e))
		return -1;
	return n;
}

/* --- counts --- */

void ring_add_known(struct ring *r, struct loss *l)
{
	loss_add(l, r->lost.packets, r->lost.from_ns, r->lost.to_ns);
	r->lost = (struct loss){0};
}

void ring_add_drops(struct ring *r, struct loss *l)
{
	ring_count(r);
	ring_add_known(r, l);
}

uint64_t ring_left(struct ring *r)
{
	return ring_count(r) && r->accepted > r->taken ? r->accepted - r->taken
						       : 0;
}

bool ring_was_down(struct ring *r)
{
	listen_for_errors(r);
	bool down = r->down;
	r->down = false;
	return down;
}

bool ring_drained(struct ring *r)
{
	return ring_count(r) && r->accepted == r->taken;
}

/* A packet that is held may keep a small one from being read for ten of its
 * blocks (OWN_TRAFFIC_WAIT_MAX_NS). */
bool ring_is_filling(const struct ring *r)
{
	return is_ours_at(r, r->small ? r->n_blocks / 4 * 3 : r->n_blocks / 2);
}

bool ring_was_busy(struct ring *r)
{
	bool busy = r->busy || is_ours_at(r, r->n_blocks / 4);

	r->busy = false;
	return busy;
}

void ring_end(struct ring *r)
{
	r->ended = true;
}
