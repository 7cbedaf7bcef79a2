# The migrations as C: cmake "-DIN=a.sql;b.sql" -DOUT=schema.c -P
set(entries)
foreach(sql ${IN})
  file(READ "${sql}" hex HEX)
  string(REGEX REPLACE "(..)" "\\\\x\\1" body "${hex}")
  string(APPEND entries "\t\"${body}\",\n")
endforeach()
list(LENGTH IN count)
file(WRITE "${OUT}" "const char *const schema_migrations[] = {\n${entries}};\n"
     "const unsigned schema_version = ${count};\n")
