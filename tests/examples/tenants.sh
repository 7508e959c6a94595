#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# tenants.sh <program> <source folder>
#
# The numbers of examples/tenants.cpp are those of tr | sort | uniq -c on the same files, for each
# file and for all of them; what cannot be read costs itself and nothing else.
set -uo pipefail

program=$1
source_dir=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
failures=0

# The counts by which the program is judged. Reads the text.
reference() {
  LC_ALL=C tr -cs '[:alpha:]' '\n' | { grep . || true; } | LC_ALL=C sort | LC_ALL=C uniq -c
}

# The most frequent words of a text, as the table shows them.
reference_top() {
  reference | LC_ALL=C sort -k1,1nr -k2,2 | head -n "$1" |
    awk '{ printf "%s%s %s", (NR > 1 ? ", " : ": "), $1, $2 } END { print "" }'
}

fail() {
  failures=$((failures + 1))
  echo "FAILED: $*"
}

# same <what> <file> <file>
same() {
  diff "$2" "$3" > difference || { fail "$1"; head -n 10 difference; }
}

# ends_with <code> <command...>: leaves out and err.
ends_with() {
  local wanted=$1 code=0
  shift
  "$@" > out 2> err || code=$?
  [[ $code == "$wanted" ]] || { fail "$* ended with $code, not $wanted"; cat err; }
}

# --- numbers -------------------------------------------------------------------------------------

head -c 300000 /dev/urandom > random
head -c 300000 /dev/zero > zeros
: > empty
printf 'no line break at the end' > 'a file with blanks'
printf 'caf\303\251 \303\251t\303\251 na\303\257ve Word word WORD it'"'"'s x1y2z\r\n' > accents
head -c 400000 /dev/zero | tr '\0' 'w' > one_long_word
printf '\377\376\200\n' > no_letters
yes 'b a' | head -n 5000 > ties
cp "$program" binary
texts=(random zeros empty 'a file with blanks' accents one_long_word no_letters ties binary)
texts+=("$source_dir/README.md" "$source_dir/LICENSE")

for text in "${texts[@]}"; do
  reference < "$text" > wanted
  ends_with 0 "$program" --all "$text"
  same "every word of $text" wanted out
done

for text in "$source_dir/README.md" accents one_long_word; do
  reference < "$text" > wanted
  for chunk in 1 2 3 7 64 65535; do
    # A call for each byte of a long file is left to the short ones.
    [[ $chunk == 1 && $text == one_long_word ]] && continue
    ends_with 0 "$program" --all --chunk $chunk "$text"
    same "$text in chunks of $chunk" wanted out
  done
done

# Each file by itself first: words do not run on from one into the next.
for text in "${texts[@]}"; do
  cat "$text"
  echo
done > everything
reference < everything > wanted
ends_with 0 "$program" --all "${texts[@]}"
same "every word of all files" wanted out

ends_with 0 "$program" --top 7 "${texts[@]}"
for text in "${texts[@]}"; do
  words=$(reference < "$text" | awk '{ sum += $1 } END { print sum + 0 }')
  top=$(reference_top 7 < "$text")
  line=$(grep -F -- "$text " out | sed -E 's/ +/ /g')
  [[ $line == "$text $words words$top" ]] ||
    fail "the line of $text: $line"
done
words=$(awk '{ sum += $1 } END { print sum + 0 }' wanted)
line=$(grep "^all ${#texts[@]} " out | sed -E 's/ +/ /g')
[[ $line == "all ${#texts[@]} $words words$(reference_top 7 < everything)" ]] ||
  fail "the line of all: $line"
grep -qE '^[0-9]+ calls in [0-9.]+ ms: [0-9]+ calls per second$' out || fail "no calls per second"

# --- which files ---------------------------------------------------------------------------------

# Without a file: what Debian has, symbolic links left out, and the README.
{
  find /usr/share/common-licenses -maxdepth 1 -type f -print0 2> /dev/null
  printf '%s\0' "$source_dir/README.md"
} | xargs -0 -n 1 sh -c 'cat "$0"; echo' | reference > wanted
ends_with 0 "$program" --all
same "every word of the usual files" wanted out
[[ -s err ]] && fail "the usual files: $(cat err)"

reference < ties > wanted
ln -s ties link
ends_with 0 "$program" --all link
same "a symbolic link" wanted out
ends_with 0 "$program" --all ties ties
same "a file that is named twice" wanted out

cp ties ./--top
ends_with 0 "$program" --all -- --top
same "a file that is named like an option" wanted out

mkdir many
for i in $(seq 1000); do echo "common w$(tr 0-9 a-j <<< "$i")" > "many/$i"; done
cat many/* | reference > wanted
ends_with 0 bash -c 'ulimit -n 256; exec "$@"' _ "$program" --all many/*
same "a thousand files" wanted out

# --- faults --------------------------------------------------------------------------------------

# complains <what> <file>: the file is left out, and the rest is counted.
complains() {
  reference < ties > wanted
  ends_with 1 "$program" --all ties "$2" accents
  cat ties accents | reference > wanted
  same "the rest beside $1" wanted out
  grep -qF -- "$2: $3" err || fail "$1 is not named: $(cat err)"
  [[ $(wc -l < err) == 1 ]] || fail "$1: more than one message: $(cat err)"
  ends_with 1 "$program" ties "$2" accents
  grep -q '^all 2 ' out || fail "$1 is in the table"
}

complains "a missing file" nowhere/missing 'cannot be opened: No such file or directory'
complains "a directory" many 'cannot be read: Is a directory'
complains "a file that fails while it is read" /proc/self/mem \
  'cannot be read: Input/output error'
if [[ $(id -u) != 0 ]]; then
  cp ties secret
  chmod 000 secret
  complains "a file that may not be read" secret 'cannot be opened: Permission denied'
fi
ends_with 1 "$program" --all missing
[[ -s out ]] && fail "only a missing file, and something is counted"

for wrong in '--top' '--top 0' '--top x' '--top -1' '--chunk 99999999999999999999' '--what'; do
  # shellcheck disable=SC2086
  ends_with 2 "$program" $wrong
  grep -q '^usage:' err || fail "$wrong shows no usage"
done
ends_with 0 "$program" --help
grep -q '^usage:' out || fail "--help shows no usage"
if [[ -w /dev/full ]]; then
  code=0
  "$program" ties > /dev/full 2> err || code=$?
  [[ $code == 1 ]] || fail "a full disk ended with $code"
fi

echo "$failures failures"
[[ $failures == 0 ]]
