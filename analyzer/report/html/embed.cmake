# SPDX-License-Identifier: GPL-2.0-or-later
#
# Turns a file into C: its bytes as a string, and the base64 of its SHA-256, which a
# content security policy knows it by.
#
#   cmake -D INPUT=FILE -D NAME=nbds_html_css -D OUTPUT=FILE.c -P embed.cmake

file(READ ${INPUT} bytes HEX)
string(REGEX REPLACE "(................................)" "\\1\n" bytes "${bytes}")
string(REGEX REPLACE "([0-9a-f][0-9a-f])" "'\\\\x\\1'," bytes "${bytes}")

# Three bytes, six digits, are four characters; 32 bytes leave one of four over.
file(SHA256 ${INPUT} digest)
string(APPEND digest "00")
set(alphabet ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/)
set(hash)
foreach(at RANGE 0 60 6)
	string(SUBSTRING ${digest} ${at} 6 digits)
	math(EXPR bits "0x${digits}")
	foreach(shift 18 12 6 0)
		math(EXPR index "(${bits} >> ${shift}) & 63")
		string(SUBSTRING ${alphabet} ${index} 1 character)
		string(APPEND hash ${character})
	endforeach()
endforeach()
string(SUBSTRING ${hash} 0 43 hash)

file(WRITE ${OUTPUT} "/* Made of ${INPUT}. */
extern const char ${NAME}[], ${NAME}_hash[];
const char ${NAME}[] = {
${bytes}'\\0'};
const char ${NAME}_hash[] = \"${hash}=\";
")
