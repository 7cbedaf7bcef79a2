# SPDX-License-Identifier: BSD-3-Clause
# The migrations as C: cmake "-DIN=a.sql;b.sql" -DOUT=schema.c -P
set(entries)
foreach(sql ${IN})
  get_filename_component(name "${sql}" NAME)
  string(SUBSTRING "${name}" 0 3 number)
  if(number STREQUAL last)
    message(FATAL_ERROR "two migrations have the number ${number}: "
                        "a catalog would not know which it has")
  endif()
  set(last ${number})
  file(READ "${sql}" hex HEX)
  string(REGEX REPLACE "(..)" "\\\\x\\1" body "${hex}")
  string(APPEND entries "\t\"${body}\",\n")
endforeach()
list(LENGTH IN count)
file(WRITE "${OUT}" "const char *const schema_migrations[] = {\n${entries}};\n"
     "const unsigned schema_version = ${count};\n")
