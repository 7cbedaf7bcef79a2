/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The watching thread. Guarantees that the first reason is the one that is
 * told, and that a program that hangs can still be ended by a second signal.
 */
#include "cli/canceller.h"

#include "base/clock.h"

#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

static void signals_of_ours(sigset_t *set)
{
	struct sigaction hup;

	sigemptyset(set);
	sigaddset(set, SIGINT);
	sigaddset(set, SIGTERM);
	/* nohup(1) means it. */
	if (sigaction(SIGHUP, NULL, &hup) == 0 && hup.sa_handler != SIG_IGN)
		sigaddset(set, SIGHUP);
}

bool canceller_init(struct canceller *w, struct err *e)
{
	sigset_t set;

	memset(w, 0, sizeof(*w));
	w->timer = w->out = -1;
	signals_of_ours(&set);
	pthread_sigmask(SIG_BLOCK, &set, &w->before);
	w->signals = signalfd(-1, &set, SFD_CLOEXEC);
	w->stop = eventfd(0, EFD_CLOEXEC);
	if (w->signals >= 0 && w->stop >= 0)
		return true;
	err_errno(e, "watch for signals");
	canceller_done(w);
	return false;
}

static void die_of(int signal_number)
{
	sigset_t one;

	signal(signal_number, SIG_DFL);
	sigemptyset(&one);
	sigaddset(&one, signal_number);
	pthread_sigmask(SIG_UNBLOCK, &one, NULL);
	raise(signal_number);
}

static void canceller_because(struct canceller *w, enum canceller_reason reason)
{
	int none = CANCELLER_NONE;

	if (atomic_compare_exchange_strong(&w->reason, &none, (int)reason))
		client_cancel(w->client);
}

static void *canceller_all(void *arg)
{
	struct canceller *w = arg;
	struct pollfd p[] = {{.fd = w->stop, .events = POLLIN},
			     {.fd = w->signals, .events = POLLIN},
			     {.fd = w->timer, .events = POLLIN},
			     {.fd = w->out, .events = 0}};
	struct signalfd_siginfo info;

	for (;;) {
		if (poll(p, 4, -1) < 0)
			continue;
		if (p[0].revents)
			return NULL;
		if (p[1].revents &&
		    read(w->signals, &info, sizeof(info)) == sizeof(info)) {
			if (atomic_load(&w->reason) == CANCELLER_SIGNAL)
				die_of((int)info.ssi_signo);
			canceller_because(w, CANCELLER_SIGNAL);
		}
		if (p[2].revents) {
			canceller_because(w, CANCELLER_TIME);
			p[2].fd = -1;
		}
		if (p[3].revents) {
			canceller_because(w, CANCELLER_READER_GONE);
			p[3].fd = -1;
		}
	}
}

bool canceller_start(struct canceller *w, struct client *c, int64_t for_ns,
		     int out, struct err *e)
{
	struct itimerspec at = {
		.it_value = {for_ns / NS_PER_S, for_ns % NS_PER_S}};

	w->client = c;
	w->out = out;
	if (for_ns) {
		w->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
		if (w->timer < 0 ||
		    timerfd_settime(w->timer, 0, &at, NULL) != 0)
			return err_errno(e, "set a timer");
	}
	errno = pthread_create(&w->thread, NULL, canceller_all, w);
	if (errno) {
		w->client = NULL;
		return err_errno(e, "make a thread");
	}
	return true;
}

enum canceller_reason canceller_done(struct canceller *w)
{
	uint64_t one = 1;

	if (w->client) {
		while (write(w->stop, &one, sizeof(one)) < 0 && errno == EINTR)
			;
		pthread_join(w->thread, NULL);
		w->client = NULL;
	}
	int fds[] = {w->signals, w->stop, w->timer};
	for (size_t i = 0; i < 3; i++)
		if (fds[i] >= 0)
			close(fds[i]);
	w->signals = w->stop = w->timer = -1;
	pthread_sigmask(SIG_SETMASK, &w->before, NULL);
	return (enum canceller_reason)atomic_load(&w->reason);
}
