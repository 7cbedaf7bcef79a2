/* The inputs in tests/fuzz/prune, without a fuzzer. */
#include "fuzz/fuzz_prune.c"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static size_t read_file(const char *path, uint8_t *to, size_t max)
{
	FILE *f = fopen(path, "rb");

	assert_non_null(f);
	size_t n = fread(to, 1, max, f);
	fclose(f);
	return n;
}

static void every_input_of_the_corpus_holds(void **state)
{
	const char *root = getenv("SOURCE_DIR"), *end = strrchr(__FILE__, '/');
	char folder[1024], path[2048];
	uint8_t bytes[8192];
	struct dirent *entry;
	unsigned files = 0;

	(void)state;
	if (root)
		snprintf(folder, sizeof(folder), "%s/tests/fuzz/prune", root);
	else
		snprintf(folder, sizeof(folder), "%.*s/fuzz/prune",
			 end ? (int)(end - __FILE__) : 1, end ? __FILE__ : ".");
	DIR *d = opendir(folder);
	if (!d)
		fail_msg("no folder %s", folder);
	while ((entry = readdir(d))) {
		if (entry->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name);
		size_t n = read_file(path, bytes, sizeof(bytes));
		assert_true(n > 0 && n < sizeof(bytes));
		LLVMFuzzerTestOneInput(bytes, n);
		files++;
	}
	closedir(d);
	assert_true(files > 50);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_input_of_the_corpus_holds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
