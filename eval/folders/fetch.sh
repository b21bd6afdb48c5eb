#!/usr/bin/env bash
# Fetch the folders that the questions are about, out of Debian's packages (bookworm, 2026-11):
#   bash eval/folders/fetch.sh FOLDER
# pdf:  freedombox-doc-en 23.6.2+deb12u2 (freedombox-manual.pdf), debian-policy 4.6.2.0 (fhs-3.0.pdf)
# html: installation-guide-amd64 20230508+deb12u1, English, 84 pages
# book: aptitude-doc-en 0.8.13-5, 89 pages
set -eu
to=$(realpath -m "$1"); mkdir -p "$to/pdf" "$to/html" "$to/book" "$to/packages"; cd "$to/packages"
apt-get download freedombox-doc-en debian-policy installation-guide-amd64 aptitude-doc-en
for package in *.deb; do dpkg -x "$package" .; done
cp usr/share/freedombox/manual/en/freedombox-manual.pdf "$to/pdf/"
zcat usr/share/doc/debian-policy/fhs/fhs-3.0.pdf.gz > "$to/pdf/fhs-3.0.pdf"
cp usr/share/doc/installation-guide-amd64/en/*.html "$to/html/"
cp usr/share/doc/aptitude/html/en/*.html "$to/book/"
