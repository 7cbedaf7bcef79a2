# SPDX-License-Identifier: BSD-3-Clause
# Turns a file into a C array: cmake -DIN=file -DOUT=file.c -DNAME=symbol -P
file(READ "${IN}" hex HEX)
string(LENGTH "${hex}" digits)
math(EXPR bytes "${digits} / 2")
string(REGEX REPLACE "(..)" "0x\\1," body "${hex}")
file(WRITE "${OUT}"
     "const unsigned char ${NAME}[] = {${body}0};\n"
     "const unsigned long ${NAME}_bytes = ${bytes};\n")
