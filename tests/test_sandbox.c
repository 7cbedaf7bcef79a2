/*
 * The sandbox, each time in a child: there is no way back out of it. What the
 * kernel does to the child is the oracle.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "sandbox.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
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

static int new_user_namespace(const struct world *w)
{
	(void)w;
	return (int)syscall(SYS_clone, 0x10000000 | SIGCHLD, NULL, NULL, NULL,
			    NULL);
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

static bool have_landlock(void)
{
	return syscall(SYS_landlock_create_ruleset, NULL, 0, 1) >= 4;
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

	if (!have_landlock())
		skip();
	write_file(w->outside, "private");
	assert_goes(w, reach_files);
	assert_int_equal(access(w->outside, F_OK), 0);
}

static int connect_somewhere(const struct world *w)
{
	struct sockaddr_in to = {.sin_family = AF_INET,
				 .sin_port = htons(9),
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	(void)w;
	return connect(fd, (struct sockaddr *)&to, sizeof(to)) == 0 ||
	       errno != EACCES;
}

static void it_connects_nowhere(void **state)
{
	if (!have_landlock())
		skip();
	assert_goes(*state, connect_somewhere);
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
		WORLD(it_is_fatal_for_the_whole_process),
		WORLD(there_is_no_way_to_new_privileges),
		WORLD(files_but_its_own_are_out_of_reach),
		WORLD(it_connects_nowhere),
		WORLD(off_is_off),
		WORLD(a_user_that_is_not_there_is_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
