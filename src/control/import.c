/*
 * Savefiles that go into a capture of their own. Guarantees that nothing is
 * made of a file whose header is not understood, and that one file at a time
 * goes into a capture.
 */
#include "entry.h"

#include <inttypes.h>

static const char *link_name(uint32_t link_type)
{
	const char *name =
		pcap_datalink_val_to_name(dlt_of_link_type(link_type));

	return name ? name : "unknown";
}

/* May this file go into this capture? */
static bool import_fits(const struct entry *t, const char *name, uint32_t type,
			struct err *e)
{
	char room[24];

	if (!t->row.savefile) {
		err_set(e, ERR_STATE,
			"'%s' captures on %s; savefiles do not "
			"go into it",
			entry_label(t, room), t->row.interface);
		return err_hint(e, "Import into an alias of its own.");
	}
	if (t->importing)
		return err_set(e, ERR_STATE,
			       "'%s' is being imported into already",
			       entry_label(t, room));
	if (t->row.link_type == type)
		return true;
	err_set(e, ERR_STATE,
		"%s has link type %" PRIu32 " (%s), '%s' has %" PRIu32 " (%s)",
		name, type, link_name(type), entry_label(t, room),
		t->row.link_type, link_name(t->row.link_type));
	return err_hint(e, "Import it into an alias of its own.");
}

static struct entry *create_import(struct control *ctl, const char *alias,
				   uint32_t link_type, struct err *e)
{
	char *aliases[] = {(char *)alias};
	struct capture_row row = {
		.savefile = true,
		.interface = "",
		.filter = "",
		.program = "",
		.link_type = link_type,
		.snaplen = CAPTURE_SNAPLEN_MAX,
		.aliases = aliases,
		.n_aliases = 1,
	};

	return alias_check(alias, e) ? entry_create(ctl, &row, e) : NULL;
}

static struct entry *import_begin(struct control *ctl, const char *alias,
				  const char *name, uint32_t link_type,
				  bool *created, struct err *e)
{
	struct err ignored;
	struct entry *t = NULL;

	pthread_mutex_lock(&ctl->change);
	if (!control_is_stopping(ctl, e)) {
		t = entry_find(ctl, alias, &ignored);
		*created = !t;
		if (!t)
			t = create_import(ctl, alias, link_type, e);
		else if (!import_fits(t, name, link_type, e))
			t = NULL;
	}
	if (t) {
		pthread_mutex_lock(&ctl->lock);
		t->importing = true;
		pthread_mutex_unlock(&ctl->lock);
	}
	pthread_mutex_unlock(&ctl->change);
	return t;
}

/* What would be refused anyway is refused before the file is read. */
static bool import_precheck(struct control *ctl, const char *alias,
			    struct err *e)
{
	struct err ignored;

	pthread_mutex_lock(&ctl->change);
	struct entry *t = entry_find(ctl, alias, &ignored);
	bool ok = t ? import_fits(t, "", t->row.link_type, e)
		    : alias_check(alias, e);
	pthread_mutex_unlock(&ctl->change);
	return ok;
}

static bool import_copy(struct control *ctl, struct entry *t,
			struct savefile *file, uint64_t *packets,
			uint64_t *raw_bytes, struct err *e)
{
	struct writer_status disk;
	struct writer *w = writer_start(ctl->store, t->feed, e);

	if (!w)
		return false;
	bool ok = savefile_copy(file, t->feed, packets, raw_bytes, e);
	writer_stop(w, &disk);
	if (disk.dropped_disk)
		ok = err_set(e, ERR_INCOMPLETE,
			     "%" PRIu64 " packets could not be written: %s",
			     disk.dropped_disk, disk.error);
	return ok;
}

bool control_import(struct control *ctl, const char *alias, const char *name,
		    savefile_read read, void *ctx, struct capture_view *v,
		    bool *created, uint64_t *packets, uint64_t *raw_bytes,
		    struct err *e)
{
	struct err seen;

	*packets = *raw_bytes = 0;
	if (!import_precheck(ctl, alias, e))
		return false;
	struct savefile *file = savefile_open(read, ctx, name, e);
	if (!file)
		return false;
	struct entry *t = import_begin(ctl, alias, name,
				       savefile_link_type(file), created, e);
	if (!t) {
		savefile_close(file);
		return false;
	}
	bool ok = import_copy(ctl, t, file, packets, raw_bytes, e);
	savefile_close(file);
	pthread_mutex_lock(&ctl->change);
	pthread_mutex_lock(&ctl->lock);
	t->importing = false;
	pthread_mutex_unlock(&ctl->lock);
	if ((ok || e->kind == ERR_INCOMPLETE) &&
	    !entry_view(ctl, t, v, &seen)) {
		*e = seen;
		ok = false;
	}
	pthread_mutex_unlock(&ctl->change);
	return ok;
}
