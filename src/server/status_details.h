/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * status_details: an error for programs, beside its sentence for people.
 *
 * Threads: any. Ownership: the slice is the caller's.
 */
#ifndef PCAPD_SERVER_STATUS_DETAILS_H
#define PCAPD_SERVER_STATUS_DETAILS_H

#include "base/err.h"

#include <grpc/slice.h>

#define STATUS_DETAILS_KEY "grpc-status-details-bin"

/* The google.rpc.Status of an error whose text is UTF-8, as bytes. */
grpc_slice status_details(int status, const struct err *e);

#endif
