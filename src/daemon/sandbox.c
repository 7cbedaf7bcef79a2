/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Giving up privileges. Guarantees that after sandbox_user there is no way back
 * to root, and that after sandbox_enter a call which is not on the list is
 * fatal and named. Leaves out what systemd does better: packaging/.
 */
#include "daemon/sandbox.h"

#include "base/log.h"
#include "tls/context.h"

#include <cap-ng.h>
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <grp.h>
#include <libgen.h>
#include <linux/landlock.h>
#include <netinet/in.h>
#include <pwd.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* --- the user --- */

static uid_t new_owner;
static gid_t new_group;

/* Files of root's only: what belongs to others was given to them by somebody.
 */
static int give_one(const char *path, const struct stat *st, int type,
		    struct FTW *at)
{
	(void)at;
	if (type == FTW_SL || st->st_uid != 0)
		return 0;
	return lchown(path, new_owner, new_group);
}

static int is_content(const struct dirent *d)
{
	return strcmp(d->d_name, ".") != 0 && strcmp(d->d_name, "..") != 0 &&
	       strcmp(d->d_name, "lost+found") != 0;
}

/* Nothing but a spool is given away, whatever the path says: what has a
 * catalog, or has nothing. */
static bool is_spool(const char *path)
{
	char catalog[CONFIG_PATH_MAX + 16];
	struct dirent **found = NULL;

	snprintf(catalog, sizeof(catalog), "%s/catalog.db", path);
	if (access(catalog, F_OK) == 0)
		return true;
	int n = scandir(path, &found, is_content, NULL);
	for (int i = 0; i < n; i++)
		free(found[i]);
	free(found);
	return n == 0;
}

static bool give_spool(const char *path, struct err *e)
{
	struct stat st;

	if (stat(path, &st) == 0 &&
	    (st.st_uid != 0 || !S_ISDIR(st.st_mode) || !is_spool(path)))
		return true;
	if (mkdir(path, 0700) < 0 && errno != EEXIST)
		return errno == ENOENT || err_errno(e, "make %s", path);
	/* The folder last: a start that was cut off begins again. */
	if (nftw(path, give_one, 16, FTW_PHYS | FTW_MOUNT | FTW_DEPTH) != 0)
		return err_errno(e, "give %s to the user of pcapd", path);
	return true;
}

/* Only one that is made here: others may be everybody's, like /run. */
static bool give_socket_folder(const char *socket, struct err *e)
{
	char path[CONFIG_PATH_MAX];

	snprintf(path, sizeof(path), "%s", socket);
	const char *folder = dirname(path);
	if (mkdir(folder, 0755) < 0)
		return errno == EEXIST || err_errno(e, "make %s", folder);
	/* Whatever the umask: others have to get to the socket. */
	if (chmod(folder, 0755) < 0)
		return err_errno(e, "set the mode of %s", folder);
	return chown(folder, new_owner, new_group) == 0 ||
	       err_errno(e, "give %s to the user of pcapd", folder);
}

static bool give_key(const struct config *c, struct err *e)
{
	char path[CONFIG_PATH_MAX + 16];
	struct stat st;

	config_tls_path(c, TLS_KEY, path);
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return true; /* who needs it will say so */
	bool ok = fstat(fd, &st) == 0 &&
		  (st.st_uid != 0 || !S_ISREG(st.st_mode) ||
		   fchown(fd, new_owner, (gid_t)-1) == 0);
	if (!ok)
		err_errno(e, "give %s to the user of pcapd", path);
	close(fd);
	return ok;
}

/* Whether there is a way to that user: it takes two capabilities, and in a user
 * namespace an entry of the user in its maps. */
static bool can_become(const struct passwd *pw)
{
	const uid_t same = (uid_t)-1;
	const gid_t same_group = (gid_t)-1;

	return setresgid(same_group, same_group, pw->pw_gid) == 0 &&
	       setresgid(same_group, same_group, 0) == 0 &&
	       setresuid(same, same, pw->pw_uid) == 0 &&
	       setresuid(same, same, 0) == 0;
}

/* Those of the user, and the one that the socket is given to. Who may not set
 * them, as in a container or a user namespace, keeps what it was given. */
static bool set_groups(const struct config *c, const char *user, gid_t gid,
		       struct err *e)
{
	gid_t groups[64];
	int n = 63;
	struct group *socket =
		*c->socket_group ? getgrnam(c->socket_group) : NULL;

	if (!user || getgrouplist(user, gid, groups, &n) < 0) {
		groups[0] = gid;
		n = 1;
	}
	if (socket)
		groups[n++] = socket->gr_gid;
	return setgroups((size_t)n, groups) == 0 || errno == EPERM ||
	       err_errno(e, "set the groups of pcapd");
}

/* CAP_NET_RAW, and CAP_NET_ADMIN where it is asked for, as far as they are
 * there. */
static bool keep_capabilities(const struct config *c, const struct passwd *pw,
			      struct err *e)
{
	bool raw = capng_have_capability(CAPNG_PERMITTED, CAP_NET_RAW);
	bool admin = c->net_admin &&
		     capng_have_capability(CAPNG_PERMITTED, CAP_NET_ADMIN);
	/* The bounding set takes a capability of its own. */
	bool bounds = capng_have_capability(CAPNG_EFFECTIVE, CAP_SETPCAP);

	capng_clear(CAPNG_SELECT_BOTH);
	if (raw)
		capng_update(CAPNG_ADD, CAPNG_EFFECTIVE | CAPNG_PERMITTED,
			     CAP_NET_RAW);
	if (admin)
		capng_update(CAPNG_ADD, CAPNG_EFFECTIVE | CAPNG_PERMITTED,
			     CAP_NET_ADMIN);
	int code = pw ? capng_change_id((int)pw->pw_uid, (int)pw->pw_gid,
					CAPNG_CLEAR_AMBIENT |
						(bounds ? CAPNG_CLEAR_BOUNDING
							: CAPNG_NO_FLAG))
		      : capng_apply(bounds ? CAPNG_SELECT_BOTH
					   : CAPNG_SELECT_CAPS);
	if (code == 0)
		return true;
	return err_set(e, ERR_FAILED, "give up capabilities: error %d", code);
}

/* Whom to become; NULL: nobody else. */
static bool find_user(const struct config *c, struct passwd **pw, struct err *e)
{
	*pw = *c->user ? getpwnam(c->user) : NULL;
	if (!*c->user || (*pw && (*pw)->pw_uid == 0)) {
		*pw = NULL;
		return true;
	}
	if (!*pw && strcmp(c->user, SANDBOX_USER) != 0) {
		err_set(e, ERR_USAGE, "user: there is no user %s", c->user);
		return err_hint(e,
				"Make it, or set user to one that is there.");
	}
	if (!*pw) {
		log_warn("there is no user %s: pcapd goes on as root, with "
			 "CAP_NET_RAW alone",
			 c->user);
	} else if (!can_become(*pw)) {
		log_warn("pcapd cannot become the user %s (%s): it goes on as "
			 "root, with CAP_NET_RAW alone; 'user =' in the "
			 "settings asks for that",
			 c->user, strerror(errno));
		*pw = NULL;
	}
	return true;
}

bool sandbox_user(const struct config *c, struct err *e)
{
	struct passwd *pw;

	if (geteuid() != 0)
		return true;
	if (!find_user(c, &pw, e))
		return false;
	if (pw) {
		new_owner = pw->pw_uid;
		new_group = pw->pw_gid;
		if (!give_spool(c->spool, e) ||
		    !give_socket_folder(c->socket, e) || !give_key(c, e))
			return false;
	}
	return set_groups(c, pw ? pw->pw_name : NULL, pw ? pw->pw_gid : 0, e) &&
	       keep_capabilities(c, pw, e);
}

bool sandbox_give_key(const struct config *c, struct err *e)
{
	struct passwd *pw = *c->user ? getpwnam(c->user) : NULL;

	if (geteuid() != 0 || !pw)
		return true;
	new_owner = pw->pw_uid;
	return give_key(c, e);
}

bool sandbox_owner(const char *spool, struct err *e)
{
	struct stat st;

	if (geteuid() != 0 || stat(spool, &st) < 0 || st.st_uid == 0)
		return true;
	if ((setgroups(0, NULL) == 0 || errno == EPERM) &&
	    setresgid(st.st_gid, st.st_gid, st.st_gid) == 0 &&
	    setresuid(st.st_uid, st.st_uid, st.st_uid) == 0)
		return true;
	return err_errno(e, "become the owner of %s", spool);
}

/* --- files, and connections --- */

/* Newer than the headers may be. Linux has version 1 since 5.13, 2 (refer)
 * since 5.19, 3 (truncate) since 6.2, 4 (TCP) since 6.7, 6 (signals) since
 * 6.12. */
struct ruleset_attr {
	uint64_t handled_access_fs, handled_access_net, scoped;
};
#define ACCESS_FS_REFER (1ull << 13)
#define ACCESS_FS_TRUNCATE (1ull << 14)
#define ACCESS_FS_V1 ((1ull << 13) - 1)
#define ACCESS_NET_CONNECT_TCP (1ull << 1)
#define SCOPE_SIGNAL (1ull << 1)

static int landlock_abi(void)
{
	return (int)syscall(SYS_landlock_create_ruleset, NULL, 0,
			    LANDLOCK_CREATE_RULESET_VERSION);
}

/* What is not there cannot be reached anyway. */
static bool allow_path(int rules, const char *path, uint64_t access,
		       struct err *e)
{
	struct landlock_path_beneath_attr a = {
		.allowed_access = access,
		.parent_fd = open(path, O_PATH | O_CLOEXEC),
	};

	if (a.parent_fd < 0)
		return true;
	bool ok = syscall(SYS_landlock_add_rule, rules,
			  LANDLOCK_RULE_PATH_BENEATH, &a, 0) == 0;
	if (!ok)
		err_errno(e, "allow %s", path);
	close(a.parent_fd);
	return ok;
}

static bool allow_folder_of(int rules, const char *file, uint64_t access,
			    struct err *e)
{
	char path[CONFIG_PATH_MAX + 16];

	snprintf(path, sizeof(path), "%s", file);
	return !*path || allow_path(rules, dirname(path), access, e);
}

static bool allow_all(int rules, const struct config *c, const char *config,
		      uint64_t all, struct err *e)
{
	/* Settings, users, time zones, libraries that are loaded late, and what
	 * the kernel tells of interfaces and of this process. */
	static const char *const system[] = {"/etc", "/usr",  "/lib", "/lib64",
					     "/run", "/proc", "/sys", "/dev"};
	static const enum tls_file tls[] = {TLS_CERT, TLS_KEY, TLS_CA,
					    TLS_ALLOW};
	const uint64_t look =
		LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR;
	char path[CONFIG_PATH_MAX + 16];
	bool ok = allow_path(rules, c->spool, all, e) &&
		  allow_folder_of(rules, c->socket, all, e) &&
		  (!config || allow_folder_of(rules, config, look, e));

	for (size_t i = 0; ok && i < sizeof(system) / sizeof(*system); i++)
		ok = allow_path(rules, system[i], look, e);
	for (size_t i = 0; ok && i < sizeof(tls) / sizeof(*tls); i++) {
		config_tls_path(c, tls[i], path);
		ok = allow_folder_of(rules, path, look, e);
	}
	return ok;
}

static bool lock_files(const struct config *c, const char *config,
		       struct err *e)
{
	int abi = landlock_abi();
	struct ruleset_attr a = {
		.handled_access_fs = ACCESS_FS_V1,
		.handled_access_net = abi >= 4 ? ACCESS_NET_CONNECT_TCP : 0,
		.scoped = abi >= 6 ? SCOPE_SIGNAL : 0,
	};
	size_t bytes = abi >= 6 ? sizeof(a) : abi >= 4 ? 16 : 8;

	if (abi < 1) {
		log_info("this kernel has no Landlock: pcapd can open what its "
			 "user can");
		return true;
	}
	if (abi < 4)
		log_info("this kernel's Landlock has no rule about TCP (6.7 "
			 "has): pcapd could connect to other machines");
	a.handled_access_fs |= abi >= 2 ? ACCESS_FS_REFER : 0;
	a.handled_access_fs |= abi >= 3 ? ACCESS_FS_TRUNCATE : 0;
	int rules = (int)syscall(SYS_landlock_create_ruleset, &a, bytes, 0);
	if (rules < 0)
		return err_errno(e, "make Landlock rules");
	bool ok = allow_all(rules, c, config, a.handled_access_fs, e);
	if (ok && syscall(SYS_landlock_restrict_self, rules, 0) != 0)
		ok = err_errno(e, "keep to Landlock rules");
	close(rules);
	return ok;
}

/* --- system calls --- */

/* What pcapd and its libraries call: files, memory, threads, time, sockets. */
static const char *const calls[] = {
	/* files */
	"access",
	"chown",
	"close",
	"close_range",
	"copy_file_range",
	"dup",
	"dup2",
	"dup3",
	"faccessat",
	"faccessat2",
	"fadvise64",
	"fallocate",
	"fchown",
	"fchownat",
	"fcntl",
	"fdatasync",
	"flock",
	"fstat",
	"fstatfs",
	"fsync",
	"ftruncate",
	"getcwd",
	"getdents64",
	"inotify_add_watch",
	"inotify_init1",
	"inotify_rm_watch",
	"link",
	"linkat",
	"lseek",
	"lstat",
	"newfstatat",
	"pread64",
	"preadv",
	"preadv2",
	"pwrite64",
	"pwritev",
	"pwritev2",
	"read",
	"readahead",
	"readlink",
	"readlinkat",
	"readv",
	"rename",
	"renameat",
	"renameat2",
	"rmdir",
	"sendfile",
	"stat",
	"statfs",
	"statx",
	"sync_file_range",
	"syncfs",
	"truncate",
	"umask",
	"unlink",
	"unlinkat",
	"utimensat",
	"write",
	"writev",
	/* memory */
	"brk",
	"madvise",
	"membarrier",
	"mincore",
	"mlock",
	"mremap",
	"msync",
	"munlock",
	"munmap",
	/* threads, signals, limits */
	"arch_prctl",
	"exit",
	"exit_group",
	"futex",
	"get_robust_list",
	"getpid",
	"getppid",
	"getrusage",
	"gettid",
	"prlimit64",
	"getrlimit",
	"restart_syscall",
	"rseq",
	"rt_sigaction",
	"rt_sigpending",
	"rt_sigprocmask",
	"rt_sigreturn",
	"rt_sigtimedwait",
	"sched_getaffinity",
	"sched_getparam",
	"sched_getscheduler",
	"sched_get_priority_max",
	"sched_get_priority_min",
	"sched_setaffinity",
	"sched_setscheduler",
	"sched_yield",
	"setpriority",
	"set_robust_list",
	"set_tid_address",
	"setrlimit",
	"sigaltstack",
	"tgkill",
	"getcpu",
	/* who, when, where */
	"capget",
	"clock_getres",
	"clock_gettime",
	"clock_nanosleep",
	"getegid",
	"geteuid",
	"getgid",
	"getgroups",
	"getrandom",
	"getresgid",
	"getresuid",
	"gettimeofday",
	"getuid",
	"nanosleep",
	"sysinfo",
	"time",
	"times",
	"uname",
	/* sockets and waiting */
	"accept",
	"accept4",
	"bind",
	"connect",
	"epoll_create",
	"epoll_create1",
	"epoll_ctl",
	"epoll_pwait",
	"epoll_pwait2",
	"epoll_wait",
	"eventfd2",
	"getpeername",
	"getsockname",
	"getsockopt",
	"listen",
	"pipe",
	"pipe2",
	"poll",
	"ppoll",
	"pselect6",
	"recvfrom",
	"recvmmsg",
	"recvmsg",
	"select",
	"setsockopt",
	"shutdown",
	"signalfd4",
	"socketpair",
	"timerfd_create",
	"timerfd_gettime",
	"timerfd_settime",
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
	/* The leak sanitizer looks at the process from beside it. */
	"kill",
	"personality",
	"getdents",
	"tkill",
	"waitid",
	"process_vm_readv",
	"ptrace",
	"wait4",
#endif
};

#define NEW_NAMESPACES                                                         \
	(CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC |         \
	 CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET)

#define SET_ID_BITS (S_ISUID | S_ISGID)
#define PROTOCOL_MASK 0xf /* of a socket's type, without SOCK_CLOEXEC */

/* What one argument of a call must be for the call to be allowed. */
struct rule {
	int call;
	unsigned arg;
	scmp_datum_t mask, value;
};

static const struct rule rules[] = {
	/* Threads; glibc falls back from clone3, whose flags cannot be seen. */
	{SCMP_SYS(clone), 0, NEW_NAMESPACES, 0},
	/* Nothing is run but what was loaded before. */
	{SCMP_SYS(mmap), 2, PROT_EXEC, 0},
	{SCMP_SYS(mprotect), 2, PROT_EXEC, 0},
	{SCMP_SYS(prctl), 0, ~0ull, PR_SET_NAME},
	/* No file gets somebody's rights for whoever runs it. */
	{SCMP_SYS(chmod), 1, SET_ID_BITS, 0},
	{SCMP_SYS(fchmod), 1, SET_ID_BITS, 0},
	{SCMP_SYS(fchmodat), 2, SET_ID_BITS, 0},
	{SCMP_SYS(mkdir), 1, SET_ID_BITS, 0},
	{SCMP_SYS(mkdirat), 2, SET_ID_BITS, 0},
	{SCMP_SYS(open), 2, SET_ID_BITS, 0},
	{SCMP_SYS(openat), 3, SET_ID_BITS, 0},
	/* Without O_CREAT and O_TMPFILE the mode may be anything. */
	{SCMP_SYS(open), 1, O_CREAT | (O_TMPFILE & ~O_DIRECTORY), 0},
	{SCMP_SYS(openat), 2, O_CREAT | (O_TMPFILE & ~O_DIRECTORY), 0},
	/* This one connects over TCP without connect(2). */
	{SCMP_SYS(sendto), 3, MSG_FASTOPEN, 0},
	{SCMP_SYS(sendmsg), 2, MSG_FASTOPEN, 0},
	{SCMP_SYS(sendmmsg), 3, MSG_FASTOPEN, 0},
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
	{SCMP_SYS(prctl), 0, 0, 0},
#endif
};

/* Those that are told no instead of being ended by it: libraries try them, and
 * do without. */
static const struct {
	struct rule rule;
	int error;
} refused[] = {
	/* A library that is loaded late is not. With PROT_WRITE it is none. */
	{{SCMP_SYS(mmap), 2, PROT_WRITE | PROT_EXEC, PROT_EXEC}, EPERM},
	{{SCMP_SYS(sendto), 3, MSG_FASTOPEN, MSG_FASTOPEN}, EOPNOTSUPP},
	{{SCMP_SYS(sendmsg), 2, MSG_FASTOPEN, MSG_FASTOPEN}, EOPNOTSUPP},
	{{SCMP_SYS(sendmmsg), 3, MSG_FASTOPEN, MSG_FASTOPEN}, EOPNOTSUPP},
	{{SCMP_SYS(clone3), 0, 0, 0}, ENOSYS},
};

static int add_rule(scmp_filter_ctx s, uint32_t action, const struct rule *r)
{
	/* No condition is a rule of its own: it is not more than the others. */
	if (r->mask == 0)
		return seccomp_rule_add(s, action, r->call, 0);
	return seccomp_rule_add(
		s, action, r->call, 1,
		SCMP_CMP(r->arg, SCMP_CMP_MASKED_EQ, r->mask, r->value));
}

/* TCP and UDP, and neither raw packets nor what Landlock takes for no TCP, as
 * MPTCP. 0 or a negative errno. */
static int add_internet(scmp_filter_ctx s, int family)
{
	static const int types[] = {SOCK_STREAM, SOCK_DGRAM};
	static const int protocols[] = {0, IPPROTO_TCP, IPPROTO_UDP};
	int r = 0;

	for (size_t i = 0; !r && i < 6; i++)
		r = seccomp_rule_add(
			s, SCMP_ACT_ALLOW, SCMP_SYS(socket), 3,
			SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)family),
			SCMP_A1(SCMP_CMP_MASKED_EQ, PROTOCOL_MASK,
				(scmp_datum_t)types[i % 2]),
			SCMP_A2(SCMP_CMP_EQ, (scmp_datum_t)protocols[i / 2]));
	/* MPTCP, SCTP and others have larger numbers. */
	return r ? r
		 : seccomp_rule_add(s, SCMP_ACT_ERRNO(EPROTONOSUPPORT),
				    SCMP_SYS(socket), 2,
				    SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)family),
				    SCMP_A2(SCMP_CMP_GT, IPPROTO_UDP));
}

static int add_sockets(scmp_filter_ctx s)
{
	static const int families[] = {AF_UNIX, AF_NETLINK, AF_PACKET};
	/* libpcap tries some, for Bluetooth and others. */
	const scmp_datum_t last = AF_PACKET;
	int r = add_internet(s, AF_INET);

	r = r ? r : add_internet(s, AF_INET6);
	for (size_t i = 0; !r && i < sizeof(families) / sizeof(*families); i++)
		r = seccomp_rule_add(
			s, SCMP_ACT_ALLOW, SCMP_SYS(socket), 1,
			SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)families[i]));
	return r ? r
		 : seccomp_rule_add(s, SCMP_ACT_ERRNO(EAFNOSUPPORT),
				    SCMP_SYS(socket), 1,
				    SCMP_A0(SCMP_CMP_GT, last));
}

/* All but the one that types into a terminal. The kernel looks at the lower 32
 * bits of the number, so it is one of these that has to be another. */
static int add_ioctl(scmp_filter_ctx s)
{
	static const scmp_datum_t tiocsti = 0x5412;
	int r = 0;

	for (unsigned i = 0; !r && i < 32; i++)
		r = seccomp_rule_add(s, SCMP_ACT_ALLOW, SCMP_SYS(ioctl), 1,
				     SCMP_A1(SCMP_CMP_MASKED_EQ, 1ull << i,
					     ~tiocsti & 1ull << i));
	return r;
}

/* Calls that depend on what is asked for. 0 or a negative errno. */
static int add_conditions(scmp_filter_ctx s)
{
	int r = add_sockets(s);

	r = r ? r : add_ioctl(s);
	for (size_t i = 0; !r && i < sizeof(rules) / sizeof(*rules); i++)
		r = add_rule(s, SCMP_ACT_ALLOW, &rules[i]);
	for (size_t i = 0; !r && i < sizeof(refused) / sizeof(*refused); i++)
		r = add_rule(s, SCMP_ACT_ERRNO((unsigned)refused[i].error),
			     &refused[i].rule);
	return r;
}

/* Their names cannot be asked for in a signal handler. */
#define CALLS_MAX 512
static const char *names[CALLS_MAX];

static void sandbox_put_text(const char *text)
{
	if (write(STDERR_FILENO, text, strlen(text)) < 0)
		return;
}

static void on_forbidden(int signal_no, siginfo_t *info, void *context)
{
	int n = info->si_syscall;

	(void)context;
	sandbox_put_text("pcapd: the system call ");
	sandbox_put_text(n >= 0 && n < CALLS_MAX && names[n] ? names[n] : "?");
	sandbox_put_text(
		" is not on the list of those that pcapd makes; it ends "
		"here\n");
	signal(signal_no, SIG_DFL);
	raise(signal_no);
}

static bool lock_calls(struct err *e)
{
	struct sigaction how = {.sa_sigaction = on_forbidden,
				.sa_flags = SA_SIGINFO | SA_NODEFER};
	scmp_filter_ctx s = seccomp_init(SCMP_ACT_TRAP);
	int r = s ? add_conditions(s) : -ENOMEM;

	for (int i = 0; i < CALLS_MAX; i++)
		names[i] =
			seccomp_syscall_resolve_num_arch(SCMP_ARCH_NATIVE, i);
	for (size_t i = 0; !r && i < sizeof(calls) / sizeof(*calls); i++) {
		int n = seccomp_syscall_resolve_name(calls[i]);

		/* Not every machine has each of them. */
		if (n >= 0)
			r = seccomp_rule_add(s, SCMP_ACT_ALLOW, n, 0);
	}
	if (!r && sigaction(SIGSYS, &how, NULL) < 0)
		r = -errno;
	if (!r)
		r = seccomp_load(s);
	seccomp_release(s);
	errno = -r;
	return !r || err_errno(e, "restrict system calls");
}

/* --- what would be loaded later --- */

/* glibc's, for the words of a line of nsswitch.conf(5): "passwd: files ldap".
 * What is not there is missed by nobody. */
static void load_name_services(char *line)
{
	char name[80], *rest = NULL;

	line[strcspn(line, "#\n")] = 0;
	char *word = strtok_r(line, " \t", &rest);
	while (word && (word = strtok_r(NULL, " \t", &rest))) {
		if (*word == '[' || strchr(word, '/') || strlen(word) > 60)
			continue;
		snprintf(name, sizeof(name), "libnss_%s.so.2", word);
		dlopen(name, RTLD_NOW);
	}
}

/* Once inside nothing that is new can be run, libraries included: users and
 * names are looked up there, and TLS is spoken. */
static void load_libraries(void)
{
	char line[1024];
	FILE *f = fopen("/etc/nsswitch.conf", "re");

	while (f && fgets(line, sizeof(line), f))
		load_name_services(line);
	if (f)
		fclose(f);
	tls_load();
}

/* The system is asked: what a capability is good for depends on whose the
 * network is. */
void sandbox_tell(void)
{
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);

	if (fd >= 0)
		close(fd);
	else
		log_warn("pcapd may not capture (%s): it takes CAP_NET_RAW; "
			 "import, replay and remotes work without",
			 strerror(errno));
}

bool sandbox_without_sockets(struct err *e)
{
	scmp_filter_ctx s = seccomp_init(SCMP_ACT_ALLOW);
	int r = s ? seccomp_rule_add(s, SCMP_ACT_ERRNO(EACCES),
				     SCMP_SYS(socket), 0)
		  : -ENOMEM;

	if (!r)
		r = prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ? -errno
							   : seccomp_load(s);
	seccomp_release(s);
	errno = -r;
	return !r || err_errno(e, "keep a process from opening sockets");
}

bool sandbox_enter(const struct config *c, const char *config_file,
		   struct err *e)
{
	if (!c->sandbox)
		return true;
	load_libraries();
	/* SQLite's, which /tmp is not for any more. */
	setenv("SQLITE_TMPDIR", c->spool, 0);
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
		return err_errno(e, "give up new privileges");
	/* A rule is about what is there now. If it cannot be made, the store
	 * will say why. */
	mkdir(c->spool, 0700);
	return lock_files(c, config_file, e) && lock_calls(e);
}
