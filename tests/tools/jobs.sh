#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# jobs.sh <troupe-jobs>: every command on the jobs that --demo makes, and what is refused.
set -u
tool=$1
failures=0

# expect <exit code> <pattern> <arguments>...
expect() {
  local code=$1 pattern=$2 said
  shift 2
  said=$("$tool" "$@" 2>&1)
  local is=$?
  if [[ $is != "$code" || ! $said =~ $pattern ]]; then
    printf 'troupe-jobs %s\nended with %s, not %s, or lacks "%s":\n%s\n\n' \
      "$*" "$is" "$code" "$pattern" "$said"
    failures=$((failures + 1))
  fi
}

expect 0 'Examples:' --help
expect 0 'a file of the bytes' add --help
expect 2 'subcommand' --demo
expect 2 'subcommand' --demo frobnicate

expect 0 'waiting +1.delayed +2.active +1.completed +1.dead +1.cancelled +0' --demo stats
expect 0 'wait ' --demo list
expect 0 'greet .*troupe\.schedule ' --demo list --state delayed
expect 0 'count .* at here' --demo list -s active
expect 2 'asleep is no state' --demo list --state asleep
expect 0 'it does nothing but fail \(attempt 1 of 1 has failed\)' --demo dead
expect 0 'morning: greet v1 at 0 6 \* \* mon-fri, next 20..-..-.. 06:00:00 UTC' --demo schedules
expect 0 'morning: ended' --demo unschedule morning
expect 1 'evening: there is no such schedule' --demo unschedule evening

expect 0 'waits again' --demo retry --all
expect 0 'forgotten' --demo purge --state completed
expect 1 'has not ended' --demo purge --state waiting
expect 2 'required' --demo cancel
expect 2 'abc is no job' --demo show abc
expect 2 'another store' --demo show 2-1
expect 2 'another store' --demo cancel 2-1

expect 0 '^[0-9]+-[0-9]+$' --demo add greet --params 0102ff --priority 3 --delay 5m --once x
expect 2 'hex digits come in pairs' --demo add greet --params 012
expect 2 'no hex digits: zz' --demo add greet --params zz
expect 2 'cannot read' --demo add greet --params @/nowhere/at/all
expect 2 'a time is like' --demo add greet --delay soon
expect 2 'script' --demo add

expect 0 'active 1 .*active 1 ' --demo watch --times 2 --every 10ms

if [[ $failures == 0 ]]; then echo 'all as expected'; fi
exit $((failures != 0))
