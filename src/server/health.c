/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * grpc.health.v1: whether new calls are taken. Leaves out Watch, which a
 * client takes for "healthy while connected".
 */
#include "server/health.h"

#include "server/call.h"

#include "grpc/health/v1/health.pb-c.h"

#include <string.h>

typedef Grpc__Health__V1__HealthCheckRequest HealthRequest;
typedef Grpc__Health__V1__HealthCheckResponse HealthResponse;

void health_check(struct call *c)
{
	const HealthRequest *r = (const void *)c->request;
	HealthResponse answer = GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__INIT;

	if (*r->service && strcmp(r->service, "pcap.v1.Pcap")) {
		call_finish(c, GRPC_STATUS_NOT_FOUND,
			    "expected no service or pcap.v1.Pcap", NULL);
		return;
	}
	answer.status =
		call_is_stopping(c)
			? GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__NOT_SERVING
			: GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVING;
	call_answer(c, &answer.base);
}

void health_watch(struct call *c)
{
	call_finish(c, GRPC_STATUS_UNIMPLEMENTED, "use Check", NULL);
}
