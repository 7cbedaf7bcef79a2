/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which blocks are skipped. Guarantees that what it holds back cannot match,
 * also when a writer closes the segment meanwhile. Leaves out time (the
 * catalog's) and what a synopsis can say (bpf_prune.c).
 */
#include "store/block_skip.h"

#include <stdlib.h>

struct block_skip {
	struct segment_indexes *written;
	struct question question;
	uint32_t link_type;
	/* The segment. */
	int fd;
	uint64_t capture, first_seq;
	struct segment_index_place place;
	struct union_reader *unions;
	bool looked; /* for its blocks' synopses */
	struct segment_index *index;
	uint32_t any[SYNOPSIS_CLASSES];
};

struct block_skip *block_skip_new(struct segment_indexes *written,
				  const struct bpf_program *program,
				  uint32_t link_type)
{
	struct block_skip *v = calloc(1, sizeof(*v));

	if (v)
		v->unions = union_reader_new();
	if (!v || !v->unions) {
		free(v);
		return NULL;
	}
	v->written = written;
	v->question.program = program;
	bpf_prune_needs(program, link_type, v->question.need);
	v->link_type = link_type;
	v->looked = true;
	return v;
}

void block_skip_free(struct block_skip *v)
{
	if (!v)
		return;
	segment_index_unref(v->index);
	union_reader_free(v->unions);
	free(v);
}

bool block_skip_segment(struct block_skip *v, int fd, uint64_t capture,
			uint64_t first_seq, uint32_t link_type)
{
	segment_index_unref(v->index);
	v->index = NULL;
	v->fd = fd;
	v->capture = capture;
	v->first_seq = first_seq;
	v->looked = true;
	memset(v->any, 0, sizeof(v->any));
	if (link_type != v->link_type)
		return true;
	/* The file has it by the time that it is not here any more. */
	v->index = segment_indexes_find(v->written, capture, first_seq);
	if (v->index || fd < 0)
		return true;
	v->place = segment_index_locate(fd);
	v->looked = v->place.bytes == 0;
	struct synopsis *all = union_open(v->unions, fd, &v->place, capture,
					  first_seq, v->question.need);
	if (!all || all->link_type != link_type)
		return true;
	question_any(&v->question, all, v->any);
	return bpf_prune_may_match(v->question.program, all);
}

bool block_skip_block(struct block_skip *v, uint64_t seq)
{
	if (!v->looked) {
		v->looked = true;
		v->index = segment_index_read(v->fd, &v->place, v->capture,
					      v->first_seq);
		if (v->index &&
		    segment_index_link_type(v->index) != v->link_type) {
			segment_index_unref(v->index);
			v->index = NULL;
		}
	}
	memset(v->any, 0, sizeof(v->any));
	return !v->index ||
	       segment_index_may_match(v->index, seq, &v->question, v->any);
}

const uint32_t *block_skip_any(const struct block_skip *v)
{
	return v->any;
}

bool block_skip_has_index(const struct block_skip *v)
{
	return v->index;
}
