/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * generate: packets at a rate onto one interface, for bench/capture.
 *
 *	generate INTERFACE RATE SECONDS BYTES	UDP frames of BYTES bytes
 *	generate INTERFACE RATE SECONDS - < SAVEFILE	its packets, in turns
 *	generate INTERFACE gro			lets a veth end take XDP frames
 *
 * Frames of one size are made in the kernel by an XDP program that fills the
 * body with numbers which do not compress, varies address and port, and drops
 * what would come before its time; their highest rate is several times that of
 * sendmmsg, which the packets of a savefile go through. RATE 0: as fast as it
 *goes. Prints what was sent and in what time, as JSON. Leaves out whether it
 *arrived: the far end's counters tell.
 */
#include <errno.h>
#include <linux/bpf.h>
#include <linux/ethtool.h>
#include <linux/if_packet.h>
#include <linux/sockios.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define HEAD_BYTES 42 /* Ethernet, IPv4, UDP */
#define FRAME_MAX 3400
#define PROGRAM_MAX 2048
#define BATCH 64
/* Who could not send for so long does not send the rest in one burst. */
#define LAG_NS 10000000

static const uint8_t head[HEAD_BYTES] = {
	0x02, 0, 0,    0,    0x77, 0x01, 0x02, 0, 0,  0,  0x77, 0x02,
	0x08, 0,						   /**/
	0x45, 0, 0,    0,    0,	   0,	 0,    0, 64, 17, 0,	0, /**/
	10,   0, 0,    1,    10,   0,	 0,    2,		   /**/
	0x04, 1, 0x27, 0x0f,
};

static void die(const char *what)
{
	fprintf(stderr, "generate: %s: %s\n", what, strerror(errno));
	exit(1);
}

static int64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

struct job {
	const char *interface;
	double rate, seconds;
	uint64_t sent;
};

/* --- frames that the kernel makes --- */

struct program {
	struct bpf_insn code[PROGRAM_MAX];
	unsigned n;
};

static void put(struct program *p, uint8_t code, uint8_t dst, uint8_t src,
		int16_t off, int32_t imm)
{
	p->code[p->n++] = (struct bpf_insn){code, dst, src, off, imm};
}

/* What the program keeps: when the next frame is due, in 1/256 ns. */
struct state {
	uint64_t next, sent;
};

/* Returns XDP_DROP while no frame is due. r9: the state. */
static void wait_for_due(struct program *p, int map, double rate)
{
	int32_t interval = rate > 0 ? (int32_t)(256e9 / rate) : 0;

	put(p, BPF_LD | BPF_IMM | BPF_DW, 9, BPF_PSEUDO_MAP_VALUE, 0, map);
	put(p, 0, 0, 0, 0, 0);
	put(p, BPF_JMP | BPF_CALL, 0, 0, 0, BPF_FUNC_ktime_get_ns);
	put(p, BPF_ALU64 | BPF_MOV | BPF_X, 2, 0, 0, 0);
	put(p, BPF_ALU64 | BPF_LSH | BPF_K, 0, 0, 0, 8);
	put(p, BPF_LDX | BPF_MEM | BPF_DW, 1, 9, 0, 0);
	put(p, BPF_JMP | BPF_JGE | BPF_X, 0, 1, 2, 0);
	put(p, BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, XDP_DROP);
	put(p, BPF_JMP | BPF_EXIT, 0, 0, 0, 0);
	/* next = max(next, now - LAG) + interval */
	put(p, BPF_ALU64 | BPF_SUB | BPF_K, 2, 0, 0, LAG_NS);
	put(p, BPF_ALU64 | BPF_LSH | BPF_K, 2, 0, 0, 8);
	put(p, BPF_JMP | BPF_JGE | BPF_X, 1, 2, 1, 0);
	put(p, BPF_ALU64 | BPF_MOV | BPF_X, 1, 2, 0, 0);
	put(p, BPF_ALU64 | BPF_ADD | BPF_K, 1, 0, 0, interval);
	put(p, BPF_STX | BPF_MEM | BPF_DW, 9, 1, 0, 0);
	put(p, BPF_LDX | BPF_MEM | BPF_DW, 1, 9, 8, 0);
	put(p, BPF_ALU64 | BPF_ADD | BPF_K, 1, 0, 0, 1);
	put(p, BPF_STX | BPF_MEM | BPF_DW, 9, 1, 8, 0);
}

/* r6: random; r7: the frame. */
static void fill_body(struct program *p, int bytes)
{
	put(p, BPF_JMP | BPF_CALL, 0, 0, 0, BPF_FUNC_get_prandom_u32);
	put(p, BPF_ALU64 | BPF_MOV | BPF_X, 6, 0, 0, 0);
	put(p, BPF_ALU64 | BPF_LSH | BPF_K, 6, 0, 0, 32);
	put(p, BPF_JMP | BPF_CALL, 0, 0, 0, BPF_FUNC_get_prandom_u32);
	put(p, BPF_ALU64 | BPF_OR | BPF_X, 6, 0, 0, 0);
	put(p, BPF_STX | BPF_MEM | BPF_H, 7, 6, 28, 0); /* from 10.0.x.x */
	put(p, BPF_STX | BPF_MEM | BPF_H, 7, 6, 34, 0); /* its port */
	for (int at = HEAD_BYTES; at + 8 <= bytes; at += 8) {
		put(p, BPF_ALU64 | BPF_MUL | BPF_K, 6, 0, 0, 0x5851f42d);
		put(p, BPF_ALU64 | BPF_ADD | BPF_K, 6, 0, 0, 0x14057b7f);
		put(p, BPF_STX | BPF_MEM | BPF_DW, 7, 6, (int16_t)at, 0);
	}
}

static int load_program(const struct job *j, int map, int bytes)
{
	static struct program p;
	static char log[65536];

	put(&p, BPF_LDX | BPF_MEM | BPF_W, 7, 1, 0, 0); /* data */
	put(&p, BPF_LDX | BPF_MEM | BPF_W, 8, 1, 4, 0); /* data_end */
	put(&p, BPF_ALU64 | BPF_MOV | BPF_X, 2, 7, 0, 0);
	put(&p, BPF_ALU64 | BPF_ADD | BPF_K, 2, 0, 0, bytes);
	put(&p, BPF_JMP | BPF_JLE | BPF_X, 2, 8, 2, 0);
	put(&p, BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, XDP_ABORTED);
	put(&p, BPF_JMP | BPF_EXIT, 0, 0, 0, 0);
	wait_for_due(&p, map, j->rate);
	fill_body(&p, bytes);
	put(&p, BPF_ALU64 | BPF_MOV | BPF_K, 1, 0, 0,
	    (int32_t)if_nametoindex(j->interface));
	put(&p, BPF_ALU64 | BPF_MOV | BPF_K, 2, 0, 0, 0);
	put(&p, BPF_JMP | BPF_CALL, 0, 0, 0, BPF_FUNC_redirect);
	put(&p, BPF_JMP | BPF_EXIT, 0, 0, 0, 0);

	union bpf_attr a = {
		.prog_type = BPF_PROG_TYPE_XDP,
		.insns = (uintptr_t)p.code,
		.insn_cnt = p.n,
		.license = (uintptr_t) "Dual MIT/GPL",
		.log_buf = (uintptr_t)log,
		.log_size = sizeof(log),
		.log_level = 1,
	};
	int fd = (int)syscall(SYS_bpf, BPF_PROG_LOAD, &a, sizeof(a));
	if (fd < 0) {
		fputs(log, stderr);
		die("load the XDP program");
	}
	return fd;
}

static int make_map(void)
{
	union bpf_attr a = {
		.map_type = BPF_MAP_TYPE_ARRAY,
		.key_size = 4,
		.value_size = sizeof(struct state),
		.max_entries = 1,
	};
	int fd = (int)syscall(SYS_bpf, BPF_MAP_CREATE, &a, sizeof(a));

	if (fd < 0)
		die("make a map");
	return fd;
}

static uint64_t sent_so_far(int map)
{
	struct state s = {0, 0};
	uint32_t key = 0;
	union bpf_attr a = {0};

	a.map_fd = (uint32_t)map;
	a.key = (uintptr_t)&key;
	a.value = (uintptr_t)&s;
	if (syscall(SYS_bpf, BPF_MAP_LOOKUP_ELEM, &a, sizeof(a)) < 0)
		die("read the map");
	return s.sent;
}

static void ignore(int signal)
{
	(void)signal;
}

/* One call for all the time, ended by a signal: a call costs some 30 ms. */
static void make_frames(struct job *j, int bytes)
{
	static uint8_t frame[FRAME_MAX];
	struct rlimit unlimited = {RLIM_INFINITY, RLIM_INFINITY};
	struct sigaction on_alarm = {.sa_handler = ignore};
	struct itimerval alarm = {
		.it_value = {(time_t)j->seconds,
			     (suseconds_t)(j->seconds * 1e6) % 1000000}};
	union bpf_attr a = {0};

	setrlimit(RLIMIT_MEMLOCK, &unlimited);
	memcpy(frame, head, sizeof(head));
	frame[16] = (uint8_t)((bytes - 14) >> 8);
	frame[17] = (uint8_t)(bytes - 14);
	frame[38] = (uint8_t)((bytes - 34) >> 8);
	frame[39] = (uint8_t)(bytes - 34);
	int map = make_map();
	a.test.prog_fd = (uint32_t)load_program(j, map, bytes);
	a.test.data_in = (uintptr_t)frame;
	a.test.data_size_in = (uint32_t)bytes;
	a.test.repeat = UINT32_MAX;
	a.test.flags = BPF_F_TEST_XDP_LIVE_FRAMES;
	a.test.batch_size = BATCH;
	sigaction(SIGALRM, &on_alarm, NULL);
	setitimer(ITIMER_REAL, &alarm, NULL);
	if (syscall(SYS_bpf, BPF_PROG_TEST_RUN, &a, sizeof(a)) < 0 &&
	    errno != EINTR)
		die("run the XDP program");
	j->sent = sent_so_far(map);
}

/* --- the packets of a savefile --- */

struct frames {
	uint8_t *bytes;
	struct iovec *packets;
	size_t n;
};

static void *more(void *old, size_t bytes)
{
	void *p = realloc(old, bytes);

	if (!p)
		die("read the savefile");
	return p;
}

/* Whole Ethernet frames only: a socket does not take shorter ones. */
static void read_frames(struct frames *f)
{
	size_t n = 0, room = 0, got, at = 24, places = 0;

	do {
		if (n == room)
			f->bytes = more(f->bytes, room = room * 2 + (1u << 20));
		got = fread(f->bytes + n, 1, room - n, stdin);
		n += got;
	} while (got > 0);
	while (at + 16 <= n) {
		uint32_t caplen;

		memcpy(&caplen, f->bytes + at + 8, 4);
		at += 16;
		if (caplen > n - at)
			break;
		if (f->n == places)
			f->packets =
				more(f->packets, (places = places * 2 + 4096) *
							 sizeof(*f->packets));
		if (caplen >= ETH_HLEN)
			f->packets[f->n++] =
				(struct iovec){f->bytes + at, caplen};
		at += caplen;
	}
	if (!f->n) {
		fprintf(stderr, "generate: no packets on stdin\n");
		exit(1);
	}
}

static int packet_socket(const char *interface)
{
	struct sockaddr_ll to = {.sll_family = AF_PACKET,
				 .sll_ifindex = (int)if_nametoindex(interface)};
	int fd = socket(AF_PACKET, SOCK_RAW, 0), one = 1, room = 8 << 20;

	if (fd < 0 || bind(fd, (struct sockaddr *)&to, sizeof(to)) < 0)
		die(interface);
	setsockopt(fd, SOL_PACKET, PACKET_QDISC_BYPASS, &one, sizeof(one));
	setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof(room));
	return fd;
}

/* Packets that are due. */
static uint64_t due(const struct job *j, int64_t start, int64_t now)
{
	double want = j->rate * (double)(now - start) / 1e9;

	if (j->rate == 0 || want >= (double)(j->sent + BATCH))
		return BATCH;
	return (uint64_t)want - j->sent;
}

static void send_frames(struct job *j)
{
	struct frames f = {0};
	struct mmsghdr batch[BATCH] = {0};

	read_frames(&f);
	int fd = packet_socket(j->interface);
	int64_t start = now_ns(), now = start;
	for (; now < start + (int64_t)(j->seconds * 1e9); now = now_ns()) {
		uint64_t n = due(j, start, now);

		if (n == 0)
			continue;
		for (uint64_t i = 0; i < n; i++) {
			struct msghdr *m = &batch[i].msg_hdr;

			m->msg_iov = &f.packets[(j->sent + i) % f.n];
			m->msg_iovlen = 1;
		}
		int did = sendmmsg(fd, batch, (unsigned)n, 0);
		if (did < 0 && errno != ENOBUFS && errno != EAGAIN)
			die("send");
		if (did > 0)
			j->sent += (uint64_t)did;
	}
}

static void set_gro(const char *interface)
{
	struct ethtool_value on = {ETHTOOL_SGRO, 1};
	struct ifreq r = {.ifr_data = (char *)&on};
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	snprintf(r.ifr_name, sizeof(r.ifr_name), "%s", interface);
	if (fd < 0 || ioctl(fd, SIOCETHTOOL, &r) < 0)
		die("set GRO");
	close(fd);
}

int main(int argc, char **argv)
{
	if (argc == 3 && strcmp(argv[2], "gro") == 0) {
		set_gro(argv[1]);
		return 0;
	}
	if (argc != 5) {
		fprintf(stderr, "generate INTERFACE RATE SECONDS BYTES|-\n");
		return 2;
	}
	struct job j = {argv[1], atof(argv[2]), atof(argv[3]), 0};
	int bytes = atoi(argv[4]);
	if (strcmp(argv[4], "-") == 0) {
		send_frames(&j);
	} else if (bytes < 64 || bytes > FRAME_MAX) {
		fprintf(stderr, "generate: 64 to %d bytes\n", FRAME_MAX);
		return 2;
	} else {
		make_frames(&j, bytes);
	}
	printf("{\"sent\": %llu}\n", (unsigned long long)j.sent);
	return 0;
}
