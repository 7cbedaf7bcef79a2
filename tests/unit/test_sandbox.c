/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The sandbox, each time in a child: there is no way back out of it. What the
 * kernel does to the child is the oracle.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "daemon/sandbox.h"

#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pthread.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

struct child {
	int status;
	char said[512];
};

/* A folder with a spool in it, and a file beside both that is out of reach. */
struct world {
	char folder[64], outside[64];
	struct config config;
};

static void write_file(const char *path, const char *text)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

static int set_up(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	strcpy(w->folder, "/tmp/pcapd-sandbox-XXXXXX");
	assert_non_null(mkdtemp(w->folder));
	strcpy(w->outside, "/tmp/pcapd-outside-XXXXXX");
	int fd = mkstemp(w->outside);
	assert_true(fd >= 0);
	close(fd);
	config_defaults(&w->config);
	snprintf(w->config.spool, sizeof(w->config.spool), "%s/spool",
		 w->folder);
	snprintf(w->config.socket, sizeof(w->config.socket), "%s/run/sock",
		 w->folder);
	*state = w;
	return 0;
}

static int tear_down(void **state)
{
	struct world *w = *state;
	char command[160];

	snprintf(command, sizeof(command), "rm -rf %.63s %.63s", w->folder,
		 w->outside);
	assert_int_equal(system(command), 0);
	free(w);
	return 0;
}

/* Enters the sandbox in a child, does it there, exits with what it returns. */
static struct child confined(const struct world *w,
			     int (*what)(const struct world *w))
{
	struct child c = {0};
	struct rlimit no_core = {0, 0};
	int fds[2];
	size_t n = 0;
	ssize_t got;

	assert_int_equal(pipe(fds), 0);
	fflush(NULL);
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		struct err e = ERR_INIT;

		setrlimit(RLIMIT_CORE, &no_core);
		dup2(fds[1], STDERR_FILENO);
		if (!sandbox_enter(&w->config, NULL, &e)) {
			dprintf(STDERR_FILENO, "%s", e.what);
			_exit(99);
		}
		_exit(what(w));
	}
	close(fds[1]);
	while ((got = read(fds[0], c.said + n, sizeof(c.said) - 1 - n)) > 0)
		n += (size_t)got;
	close(fds[0]);
	assert_int_equal(waitpid(pid, &c.status, 0), pid);
	return c;
}

static void assert_is_fatal(const struct world *w,
			    int (*what)(const struct world *w),
			    const char *name)
{
	struct child c = confined(w, what);
	char line[128];

	if (!WIFSIGNALED(c.status))
		fail_msg("%s was not fatal: exit %d, %s", name,
			 WEXITSTATUS(c.status), c.said);
	assert_int_equal(WTERMSIG(c.status), SIGSYS);
	snprintf(line, sizeof(line), "pcapd: the system call %s is not on the",
		 name);
	if (strncmp(c.said, line, strlen(line)) != 0)
		fail_msg("expected '%s', got '%s'", line, c.said);
}

static void assert_goes(const struct world *w,
			int (*what)(const struct world *w))
{
	struct child c = confined(w, what);

	if (!WIFEXITED(c.status) || WEXITSTATUS(c.status) != 0)
		fail_msg("status %#x: %s", (unsigned)c.status, c.said);
}

/* --- calls --- */

static int run_program(const struct world *w)
{
	(void)w;
	return (int)syscall(SYS_execve, "/bin/true", NULL, NULL);
}

static int leave_namespace(const struct world *w)
{
	(void)w;
	return (int)syscall(SYS_unshare, 0x10000000);
}

static int become_root(const struct world *w)
{
	(void)w;
	return (int)syscall(SYS_setuid, 0);
}

static int mount_something(const struct world *w)
{
	(void)w;
	return (int)syscall(SYS_mount, "none", "/tmp", "tmpfs", 0, NULL);
}

static int load_bpf(const struct world *w)
{
	(void)w;
	return (int)syscall(SYS_bpf, 0, NULL, 0);
}

static int other_family(const struct world *w)
{
	(void)w;
	return socket(AF_APPLETALK, SOCK_DGRAM, 0);
}

static int newer_family(const struct world *w)
{
	(void)w;
	return socket(AF_VSOCK, SOCK_STREAM, 0) >= 0 || errno != EAFNOSUPPORT;
}

static int write_and_run(const struct world *w)
{
	(void)w;
	return mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC,
		    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED;
}

static int run_what_was_written(const struct world *w)
{
	void *at = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	(void)w;
	return mprotect(at, 4096, PROT_READ | PROT_EXEC);
}

/* A file of the spool with one instruction, ret. */
static int written_file(const struct world *w, mode_t mode)
{
	char path[CONFIG_PATH_MAX + 16];

	snprintf(path, sizeof(path), "%s/written", w->config.spool);
	int fd = open(path, O_RDWR | O_CREAT, mode);
	return fd >= 0 && write(fd, "\xc3", 1) == 1 ? fd : -1;
}

static int run_a_file(const struct world *w)
{
	int fd = written_file(w, 0600);

	if (fd < 0)
		return 1;
	errno = 0;
	if (mmap(NULL, 1, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0) !=
		    MAP_FAILED ||
	    errno != EPERM)
		return 2;
	return mmap(NULL, 1, PROT_EXEC, MAP_SHARED, fd, 0) != MAP_FAILED ||
			       errno != EPERM
		       ? 3
		       : 0;
}

static int run_a_file_later(const struct world *w)
{
	int fd = written_file(w, 0600);
	void *at = mmap(NULL, 1, PROT_READ, MAP_PRIVATE, fd, 0);

	return at == MAP_FAILED ? 1 : mprotect(at, 1, PROT_READ | PROT_EXEC);
}

static int run_through_another_key(const struct world *w)
{
	(void)w;
	return (int)syscall(SYS_pkey_mprotect, NULL, 4096, PROT_EXEC, 0);
}

static int load_a_library(const struct world *w)
{
	(void)w;
	/* It is on every Debian, and nothing here has it. */
	return dlopen("libcrypt.so.1", RTLD_NOW) != NULL ||
	       !strstr(dlerror(), "failed to map segment");
}

static int look_up_users(const struct world *w)
{
	gid_t groups[8];
	int n = 8;

	(void)w;
	return !getpwnam("root") || getpwnam("no-such-user") ||
	       !getgrnam("daemon") || getgrouplist("daemon", 1, groups, &n) < 1;
}

static int new_user_namespace(const struct world *w)
{
	(void)w;
	return (int)syscall(SYS_clone, 0x10000000 | SIGCHLD, NULL, NULL, NULL,
			    NULL);
}

static int type_into_a_terminal(const struct world *w)
{
	(void)w;
	return (int)syscall(SYS_ioctl, STDIN_FILENO, 0x5412ul, "x");
}

/* The kernel does not look at these bits. */
static int type_with_more_bits(const struct world *w)
{
	(void)w;
	return (int)syscall(SYS_ioctl, STDIN_FILENO, 0x100005412ul, "x");
}

static int other_ioctl(const struct world *w)
{
	int n = 0, fds[2];

	(void)w;
	if (pipe(fds) < 0 || write(fds[1], "abc", 3) != 3)
		return 1;
	/* FIONREAD */
	return syscall(SYS_ioctl, fds[0], 0x541bul, &n) < 0 || n != 3;
}

static void a_forbidden_call_is_fatal_and_named(void **state)
{
	const struct world *w = *state;

	assert_is_fatal(w, run_program, "execve");
	assert_is_fatal(w, leave_namespace, "unshare");
	assert_is_fatal(w, become_root, "setuid");
	assert_is_fatal(w, mount_something, "mount");
	assert_is_fatal(w, load_bpf, "bpf");
	assert_is_fatal(w, other_family, "socket");
	assert_goes(w, newer_family);
	assert_is_fatal(w, write_and_run, "mmap");
	assert_is_fatal(w, run_what_was_written, "mprotect");
	assert_is_fatal(w, new_user_namespace, "clone");
	assert_is_fatal(w, type_into_a_terminal, "ioctl");
	assert_is_fatal(w, type_with_more_bits, "ioctl");
	assert_goes(w, other_ioctl);
}

static void nothing_new_is_code(void **state)
{
	const struct world *w = *state;

	assert_goes(w, run_a_file);
	assert_is_fatal(w, run_a_file_later, "mprotect");
	assert_is_fatal(w, run_through_another_key, "pkey_mprotect");
	assert_goes(w, load_a_library);
	assert_goes(w, look_up_users);
}

/* --- modes --- */

static int chmod_4755(const struct world *w)
{
	return chmod(w->config.spool, 04755);
}

static int chmod_2755(const struct world *w)
{
	return chmod(w->config.spool, 02755);
}

static int fchmod_6755(const struct world *w)
{
	return fchmod(written_file(w, 0600), 06755);
}

static int fchmodat_4711(const struct world *w)
{
	return fchmodat(AT_FDCWD, w->config.spool, 04711, 0);
}

static int open_4755(const struct world *w)
{
	return written_file(w, 04755) < 0;
}

static int tmpfile_2755(const struct world *w)
{
	return open(w->config.spool, O_TMPFILE | O_RDWR, 02755) < 0;
}

static int mkdir_2755(const struct world *w)
{
	char path[CONFIG_PATH_MAX + 16];

	snprintf(path, sizeof(path), "%s/folder", w->config.spool);
	return mkdir(path, 02755);
}

static int make_node(const struct world *w)
{
	return (int)syscall(SYS_mknodat, AT_FDCWD, w->config.spool,
			    S_IFREG | 04755, 0);
}

static int other_modes(const struct world *w)
{
	char path[CONFIG_PATH_MAX + 16];
	int fd = written_file(w, 0640);

	snprintf(path, sizeof(path), "%s/folder", w->config.spool);
	if (fd < 0 || fchmod(fd, 0600) < 0 || chmod(w->config.spool, 01750) < 0)
		return 1;
	if (mkdir(path, 0700) < 0 || rmdir(path) < 0)
		return 2;
	/* A mode that nobody asks for may be anything. */
	return syscall(SYS_openat, AT_FDCWD, w->config.spool, O_RDONLY, 07777) <
	       0;
}

static void no_file_gives_rights_away(void **state)
{
	const struct world *w = *state;

	assert_is_fatal(w, chmod_4755, "chmod");
	assert_is_fatal(w, chmod_2755, "chmod");
	assert_is_fatal(w, fchmod_6755, "fchmod");
	assert_is_fatal(w, fchmodat_4711, "fchmodat");
	assert_is_fatal(w, open_4755, "openat");
	assert_is_fatal(w, tmpfile_2755, "openat");
	assert_is_fatal(w, mkdir_2755, "mkdir");
	assert_is_fatal(w, make_node, "mknodat");
	assert_goes(w, other_modes);
}

static void *call_forbidden(void *arg)
{
	(void)arg;
	run_program(NULL);
	return NULL;
}

static int from_a_thread(const struct world *w)
{
	pthread_t t;

	(void)w;
	if (pthread_create(&t, NULL, call_forbidden, NULL) != 0)
		return 1;
	pthread_join(t, NULL);
	return 0;
}

static void it_is_fatal_for_the_whole_process(void **state)
{
	assert_is_fatal(*state, from_a_thread, "execve");
}

static int privileges(const struct world *w)
{
	(void)w;
	FILE *f = fopen("/proc/self/status", "re");
	char line[256];
	int n = 0;

	while (f && fgets(line, sizeof(line), f))
		n += !strcmp(line, "NoNewPrivs:\t1\n") ||
		     !strcmp(line, "Seccomp:\t2\n");
	return n == 2 ? 0 : 1;
}

static void there_is_no_way_to_new_privileges(void **state)
{
	assert_goes(*state, privileges);
}

/* --- files and connections --- */

/* A version that has what the test is about: 1 files, 3 truncate, 4 TCP, 6
 * signals. */
static bool have_landlock(int version)
{
	return syscall(SYS_landlock_create_ruleset, NULL, 0, 1) >= version;
}

static int reach_files(const struct world *w)
{
	char path[CONFIG_PATH_MAX + 16];

	snprintf(path, sizeof(path), "%s/1", w->config.spool);
	int fd = open(path, O_RDWR | O_CREAT, 0600);
	if (fd < 0 || ftruncate(fd, 100) < 0 || unlink(path) < 0)
		return 1;
	if (open("/etc/passwd", O_RDONLY) < 0)
		return 2;
	if (open("/etc/pcapd-test", O_WRONLY | O_CREAT, 0600) >= 0 ||
	    errno != EACCES)
		return 3;
	if (open(w->outside, O_RDONLY) >= 0 || errno != EACCES)
		return 4;
	return unlink(w->outside) == 0 || errno != EACCES ? 5 : 0;
}

static void files_but_its_own_are_out_of_reach(void **state)
{
	struct world *w = *state;

	if (!have_landlock(1))
		skip();
	write_file(w->outside, "private");
	assert_goes(w, reach_files);
	assert_int_equal(access(w->outside, F_OK), 0);
}

static int write_elsewhere(const struct world *w)
{
	char path[CONFIG_PATH_MAX + 16], to[80];

	snprintf(path, sizeof(path), "%s/written", w->config.spool);
	snprintf(to, sizeof(to), "%s.link", w->outside);
	close(written_file(w, 0600));
	/* Its own memory, and so its code. */
	if (open("/proc/self/mem", O_RDWR) >= 0 || errno != EACCES)
		return 1;
	if (open("/etc/passwd", O_WRONLY) >= 0 || errno != EACCES)
		return 2;
	if (rename(path, to) == 0 || (errno != EACCES && errno != EXDEV))
		return 3;
	if (link(path, to) == 0 || (errno != EACCES && errno != EXDEV))
		return 4;
	return 0;
}

static int write_elsewhere_by_link(const struct world *w)
{
	(void)w;
	return (int)syscall(SYS_symlink, "/etc/passwd", w->outside);
}

static int truncate_what_it_reads(const struct world *w)
{
	(void)w;
	return truncate("/etc/passwd-pcapd-test", 0) == 0 || errno != EACCES;
}

static void nothing_is_written_elsewhere(void **state)
{
	struct world *w = *state;

	if (!have_landlock(1))
		skip();
	assert_goes(w, write_elsewhere);
	assert_is_fatal(w, write_elsewhere_by_link, "symlink");
}

static void nothing_it_can_read_is_cut(void **state)
{
	const char *path = "/etc/passwd-pcapd-test";

	if (!have_landlock(3) || geteuid() != 0)
		skip();
	write_file(path, "not empty");
	struct child c = confined(*state, truncate_what_it_reads);
	unlink(path);
	assert_true(WIFEXITED(c.status));
	assert_int_equal(WEXITSTATUS(c.status), 0);
}

/* Somebody who takes connections: who gets through to him is counted. */
static int open_listener(struct sockaddr_in *at)
{
	socklen_t n = sizeof(*at);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);

	*at = (struct sockaddr_in){.sin_family = AF_INET,
				   .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	if (bind(fd, (struct sockaddr *)at, sizeof(*at)) < 0 ||
	    listen(fd, 5) < 0 || getsockname(fd, (struct sockaddr *)at, &n) < 0)
		return -1;
	return fd;
}

static int connect_somewhere(const struct world *w)
{
	struct sockaddr_in to;
	int listener = open_listener(&to);
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	(void)w;
	if (listener < 0 ||
	    connect(fd, (struct sockaddr *)&to, sizeof(to)) == 0 ||
	    errno != EACCES)
		return 1;
	return accept(listener, NULL, NULL) >= 0;
}

static void it_connects_nowhere(void **state)
{
	if (!have_landlock(4))
		skip();
	assert_goes(*state, connect_somewhere);
}

/* What connects without connect(2), on a socket that is not connected. */
static int connect_with_data(const struct world *w)
{
	struct sockaddr_in to;
	int listener = open_listener(&to);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	struct iovec data = {"x", 1};
	struct mmsghdr m = {.msg_hdr = {.msg_name = &to,
					.msg_namelen = sizeof(to),
					.msg_iov = &data,
					.msg_iovlen = 1}};

	(void)w;
	if (listener < 0 ||
	    sendto(fd, "x", 1, MSG_FASTOPEN, (struct sockaddr *)&to,
		   sizeof(to)) >= 0 ||
	    errno != EOPNOTSUPP)
		return 1;
	if (sendmsg(fd, &m.msg_hdr, MSG_FASTOPEN) >= 0 || errno != EOPNOTSUPP)
		return 2;
	if (sendmmsg(fd, &m, 1, MSG_FASTOPEN | MSG_NOSIGNAL) >= 0 ||
	    errno != EOPNOTSUPP)
		return 3;
	/* Without the flag there is no connection to send over. */
	if (sendto(fd, "x", 1, MSG_NOSIGNAL, (struct sockaddr *)&to,
		   sizeof(to)) >= 0)
		return 4;
	return accept(listener, NULL, NULL) >= 0;
}

static int connect_otherwise(const struct world *w)
{
	static const int families[] = {AF_INET, AF_INET6};
	static const int others[] = {132 /* SCTP */, 256 /* SMC */,
				     262 /* MPTCP */};

	(void)w;
	for (size_t i = 0; i < 6; i++)
		if (socket(families[i % 2], SOCK_STREAM, others[i / 2]) >= 0 ||
		    errno != EPROTONOSUPPORT)
			return (int)i + 1;
	return 0;
}

static int send_raw_ip(const struct world *w)
{
	(void)w;
	return socket(AF_INET, SOCK_RAW, IPPROTO_TCP);
}

static int send_raw_ip6(const struct world *w)
{
	(void)w;
	return socket(AF_INET6, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_UDP);
}

static int talk_as_it_has_to(const struct world *w)
{
	struct sockaddr_in to;
	int listener = open_listener(&to);
	int udp = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, IPPROTO_UDP);

	(void)w;
	if (listener < 0 || udp < 0 ||
	    sendto(udp, "x", 1, 0, (struct sockaddr *)&to, sizeof(to)) != 1)
		return 1;
	return socket(AF_INET6, SOCK_STREAM | SOCK_NONBLOCK, IPPROTO_TCP) < 0 &&
	       errno != EAFNOSUPPORT;
}

static void it_connects_in_no_other_way(void **state)
{
	const struct world *w = *state;

	assert_goes(w, connect_with_data);
	assert_goes(w, connect_otherwise);
	assert_is_fatal(w, send_raw_ip, "socket");
	assert_is_fatal(w, send_raw_ip6, "socket");
	assert_goes(w, talk_as_it_has_to);
}

static int signal_parent(const struct world *w)
{
	(void)w;
	return syscall(SYS_tgkill, getppid(), getppid(), 0) == 0 ||
	       errno != EPERM;
}

static int kill_parent(const struct world *w)
{
	(void)w;
	return (int)syscall(SYS_kill, getppid(), 0);
}

static void it_sends_no_signals(void **state)
{
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
	assert_is_fatal(*state, kill_parent, "kill");
#else
	(void)kill_parent;
#endif
	if (!have_landlock(6))
		skip();
	assert_goes(*state, signal_parent);
}

/* --- switches --- */

static int anything(const struct world *w)
{
	return access(w->outside, F_OK) != 0 ||
	       open(w->outside, O_RDONLY) < 0 || syscall(SYS_setuid, 77777) > 0;
}

static void off_is_off(void **state)
{
	struct world *w = *state;

	w->config.sandbox = false;
	assert_goes(w, anything);
}

static void a_user_that_is_not_there_is_told(void **state)
{
	struct world *w = *state;
	struct err e = ERR_INIT;

	if (geteuid() != 0)
		skip();
	strcpy(w->config.user, "no-such-user");
	assert_false(sandbox_user(&w->config, &e));
	assert_int_equal(e.kind, ERR_USAGE);
	assert_string_equal(e.what, "user: there is no user no-such-user");
	assert_string_equal(e.hint,
			    "Make it, or set user to one that is there.");
	assert_int_equal(geteuid(), 0);
}

#define WORLD(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WORLD(a_forbidden_call_is_fatal_and_named),
		WORLD(nothing_new_is_code),
		WORLD(no_file_gives_rights_away),
		WORLD(it_is_fatal_for_the_whole_process),
		WORLD(there_is_no_way_to_new_privileges),
		WORLD(files_but_its_own_are_out_of_reach),
		WORLD(nothing_is_written_elsewhere),
		WORLD(nothing_it_can_read_is_cut),
		WORLD(it_connects_nowhere),
		WORLD(it_connects_in_no_other_way),
		WORLD(it_sends_no_signals),
		WORLD(off_is_off),
		WORLD(a_user_that_is_not_there_is_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
