#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# orchestra.sh <server> <worker> <redis-server> [<troupe-jobs>]: a picture rendered by workers of which one is killed
# and one is asked to go, on a Redis server made for it. Only what this script has started is ended.
set -u
server=$1
worker=$2
redis=$3
tool=${4:-}
folder=$(mktemp -d)
children=()

end_all() {
  local pid
  for pid in "${children[@]}"; do kill -9 "$pid" 2> /dev/null; done
  wait 2> /dev/null
  rm -rf "$folder"
}
trap end_all EXIT

fail() {
  echo "orchestra.sh: $1"
  tail -n 20 "$folder"/*.log
  exit 1
}

# start <name> <program> <arguments>...: beside this script; its number is in $started.
start() {
  local name=$1
  shift
  "$@" > "$folder/$name.log" 2>&1 &
  started=$!
  children+=("$started")
}

# says <name> <pattern>: waits for it, a minute at most.
says() {
  local i
  for ((i = 0; i < 600; i++)); do
    grep -qs "$2" "$folder/$1.log" && return 0
    sleep 0.1
  done
  fail "$1 does not say $2"
}

is_redis() {
  local answer
  { exec 3<> "/dev/tcp/127.0.0.1/$1"; } 2> /dev/null || return 1
  printf 'PING\r\n' >&3
  read -r -t 5 answer <&3
  exec 3>&-
  [[ $answer == +PONG* ]]
}

# Somebody may have the port: then the next one.
start_redis() {
  local i k
  for ((i = 0; i < 20; i++)); do
    port=$((20000 + (RANDOM + $$) % 10000))
    is_redis "$port" && continue
    start redis "$redis" --port "$port" --bind 127.0.0.1 --dir "$folder" --save '' \
      --appendonly yes --maxmemory-policy noeviction
    for ((k = 0; k < 100; k++)); do
      is_redis "$port" && return 0
      kill -0 "$started" 2> /dev/null || break
      sleep 0.1
    done
  done
  fail 'no Redis server could be started'
}

start_redis
network="redis://127.0.0.1:$port"

start first "$worker" --network "$network" --workers 1 --name first
first=$started
start second "$worker" --network "$network" --workers 1 --name second
second=$started
says first 'Orchestra ready'
says second 'Orchestra ready'

start server "$server" --network "$network" --picture "$folder/picture.ppm" \
  --size 400x300 --iterations 20000 --count 2 --every 0.1 --schedule '* * * * * *'
server_pid=$started
says server 'rows'  # the first tile is done
kill -9 "$first"
start third "$worker" --network "$network" --workers 1 --name third
says third 'Orchestra ready'
kill -TERM "$second"
wait "$second" || fail 'a worker that was asked to go has failed'
says second 'Done'
wait "$server_pid" || fail 'the server has failed'
says server 'as it should be'
says server 'Job succeeded: 1 + 3 = 4'
if [[ -n $tool ]]; then
  "$tool" --network "$network" schedules > "$folder/tool.log" 2>&1 || fail 'the tool has failed'
  says tool 'sum: add v1 at \* \* \* \* \* \*'
  "$tool" --network "$network" unschedule sum >> "$folder/tool.log" 2>&1 \
    || fail 'the schedule does not end'
  "$tool" --network "$network" list --state completed >> "$folder/tool.log" 2>&1
  says tool 'render_tile'
fi
echo 'all as expected'
