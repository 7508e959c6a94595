// SPDX-License-Identifier: MIT
#pragma once

/// @file
/// What Redis does with jobs: a library of functions in Lua, each call of which happens entirely or
/// not at all.
///
/// Layer: adapter. Loaded by `redis_job_calls` where the server has not got it. Its name carries
/// the version of the protocol and a hash of its text, so that programs of different builds can use
/// one server: they share the keys, which only another version of the protocol would change.
///
/// Keys and channels begin with that of the network, and jobs are named by their numbers:
///
///     :meta        version, epoch, counters, when something is due next
///     :clock       the time instead of the server's own; for tests, not there otherwise
///     :j:<number>  a job's record    :q:<number>  its request, if it is long
///     :r: :e: :g: :o:<number>        its result, error, progress and output, if it has them
///     :s           all jobs, by state and in the order in which they came there
///     :d           delays, leases and times to live, by when they are over
///     :w:<script><key>  a lane: the waiting jobs of one script and key, the first to go first
///     :y:<script>  lanes with keys whose jobs may start, the first to go first
///     :t:<key>     a tenant: its turn, limit, jobs under way, and lanes
///     :k:<once>    the number of the job that it is
///     :h:<script>  takers that have asked and got less than they had room for
///     :ends:<process>, :b:<process><number>  ends that a process waits for; the large ones apart
///     :x:<process><kind>  the answers to its last call: one that is repeated, since its answer was
///                  lost, gets them again, and nothing happens twice
///     :c:<process>, :due  channels: what a process should look after; something is due sooner
///
/// Numbers of jobs and fences are the server's microseconds, 16 digits of them, or one more than
/// the last: they rise also where a server has lost its last second. A double holds them exactly.
///
/// A call first reads, then changes its own copies, and at the end writes all of them: most of what
/// happens to a job costs a share of a command for many.

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

namespace troupe::detail {

/// Its text, but for its name, which is `@` there.
inline constexpr std::array redis_job_library_parts{
    std::string_view(R"lua(#!lua name=troupe_jobs_@

-- A record is the head that its adder has packed, with a request that is short, and what changes:
local HEAD = '>I4I5I4I4I4I8I8I4I4c0I4c0I4c0I4c0'
local REST = 'BBI4I4I4I8I8I8I8I8I4I8I4c0I4c0I4c0'
local RECORD, CHANGES = HEAD .. REST, '>' .. REST
local META = '>I4I8I8I8I8I8I8I8I8I8I8I8I8I8I8'
local CALL = '>I8I8I8I4c16BI8I8I8I8I8I8'

local PROTOCOL = 1
local WAITING, DELAYED, ACTIVE, COMPLETED, DEAD, CANCELLED = 0, 1, 2, 3, 4, 5
local STOP, HAS_RESULT, HAS_ERROR, HAS_PROGRESS, HAS_OUTPUT = 1, 2, 4, 8, 16
local SPAN = 2 ^ 50      -- of the index: where in its state a job is
local MOST = 4000        -- arguments of one call
local BIG = 262144       -- a result of more bytes is fetched apart
local REMEMBERED = 600   -- seconds: the answers to the last call of a process
local PROCESS = 16       -- bytes of its name

-- Jobs are named by the 16 digits of their numbers: in keys, in lanes, and where they travel.
local function digits(n) return string.format('%016d', n) end
local function text(n) return string.format('%d', n) end
local function has(r, flag) return math.floor(r.flags / flag) % 2 == 1 end
local function set(r, flag) if not has(r, flag) then r.flags = r.flags + flag end end
local function unset(r, flag) if has(r, flag) then r.flags = r.flags - flag end end

-- ---------------------------------------------------------------- a call, and what it leaves to do

local function write_meta(c)
  local n = c.counts
  return struct.pack(META, PROTOCOL, c.epoch, c.numbers, c.fences, c.turns, c.moves, c.nobody,
                     c.tenants, c.due, n[1], n[2], n[3], n[4], n[5], n[6])
end

local function read_meta(c, raw)
  local n = {}
  local version
  version, c.epoch, c.numbers, c.fences, c.turns, c.moves, c.nobody, c.tenants, c.due,
    n[1], n[2], n[3], n[4], n[5], n[6] = struct.unpack(META, raw)
  c.counts = n
end

-- Nothing and an error where the caller is of another store, or of another version.
local function begin(keys, args, kind, may_write)
  local c = {p = keys[1], call = redis.call, args = args, process = args[2], kind = kind}
  c.wanted, c.candidate, c.seq, c.ack, c.acked, c.flags, c.most_jobs, c.most_ended, c.most_dead,
    c.most_output, c.most_pieces, c.ends_live = struct.unpack(CALL, args[1])
  local got = c.call('MGET', c.p .. ':meta', c.p .. ':clock', c.p .. ':x:' .. c.process .. kind)
  if got[2] then
    c.now = tonumber(got[2])
  else
    local t = c.call('TIME')
    c.now = t[1] * 1000000 + t[2]
  end
  c.answered = got[3]
  if got[1] then
    local version = struct.unpack('>I4', got[1])
    if version ~= PROTOCOL then
      return nil, redis.error_reply('TROUPEVERSION ' .. text(version))
    end
    read_meta(c, got[1])
  else
    c.epoch = may_write and c.candidate or 0
    c.numbers, c.fences, c.turns, c.moves, c.nobody = 0, 0, 0, 0, 0
    c.tenants, c.due, c.counts = 0, 0, {0, 0, 0, 0, 0, 0}
    if may_write then c.call('SET', c.p .. ':meta', write_meta(c)) end
  end
  if c.wanted ~= 0 and c.wanted ~= c.epoch then
    return nil, redis.error_reply('TROUPERESET ' .. text(c.epoch))
  end
  c.job_key, c.request_key = c.p .. ':j:', c.p .. ':q:'
  c.jobs, c.dirty = {}, {}
  c.sets, c.gone, c.index, c.times = {}, {}, {}, {}
  c.lanes, c.ready, c.woken, c.ends, c.keyed, c.holders = {}, {}, {}, {}, {}, {}
  return c
end

local function in_pieces(c, name, key, all)
  local n = #all
  if n == 0 then return end
  local from = 1
  while from <= n do
    local to = math.min(from + MOST - 1, n)
    if key then
      c.call(name, key, unpack(all, from, to))
    else
      c.call(name, unpack(all, from, to))
    end
    from = to + 1
  end
end

local function put(c, key, value)
  local s = c.sets
  s[#s + 1] = key
  s[#s + 1] = value
end

-- ---------------------------------------------------------------- records

-- A table that is made with all its fields at once need not grow.
local function parse(id, at, raw)
  local length, rank, attempts, most_losses, together, lease, keep, size, script, key, once,
    request, state, flags, attempt, failures, losses, fence, news, progress_news, till, output,
    pieces, place, holder, waiters, watchers = struct.unpack(RECORD, raw)
  return {
    id = id, at = at, head = string.sub(raw, 1, length), rank = rank, attempts = attempts,
    most_losses = most_losses, together = together, lease = lease, keep = keep, size = size,
    script = script, key = key, once = once, request = request, state = state, flags = flags,
    attempt = attempt, failures = failures, losses = losses, fence = fence, news = news,
    progress_news = progress_news, till = till, output = output, pieces = pieces, place = place,
    holder = holder, waiters = waiters, watchers = watchers, is_dirty = false, is_gone = false,
    bodies = false
  }
end

local function fresh(id, at, head, waiters)
  local length, rank, attempts, most_losses, together, lease, keep, size, script, key, once,
    request = struct.unpack(HEAD, head)
  return {
    id = id, at = at, head = head, rank = rank, attempts = attempts, most_losses = most_losses,
    together = together, lease = lease, keep = keep, size = size, script = script, key = key,
    once = once, request = request, state = 0, flags = 0, attempt = 0, failures = 0, losses = 0,
    fence = 0, news = 0, progress_news = 0, till = 0, output = 0, pieces = 0, place = 0,
    holder = '', waiters = waiters, watchers = '', is_dirty = false, is_gone = false,
    bodies = false
  }
end

local function pack(r)
  return r.head .. struct.pack(CHANGES, r.state, r.flags, r.attempt, r.failures, r.losses, r.fence,
    r.news, r.progress_news, r.till, r.output, r.pieces, r.place, #r.holder, r.holder,
    #r.waiters, r.waiters, #r.watchers, r.watchers)
end

local function load_all(c, ids)
  local keys, from = {}, {}
  for _, id in ipairs(ids) do
    if c.jobs[id] == nil then
      c.jobs[id] = false
      keys[#keys + 1] = c.job_key .. id
      from[#from + 1] = id
    end
  end
  local at = 1
  while at <= #keys do
    local to = math.min(at + MOST - 1, #keys)
    local got = c.call('MGET', unpack(keys, at, to))
    for i = at, to do
      local raw = got[i - at + 1]
      if raw then c.jobs[from[i]] = parse(from[i], keys[i], raw) end
    end
    at = to + 1
  end
end

local function find(c, id)
  local r = c.jobs[id]
  if r == nil then
    load_all(c, {id})
    r = c.jobs[id]
  end
  return r or nil
end

local function touch(c, r)
  if not r.is_dirty then
    r.is_dirty = true
    c.dirty[#c.dirty + 1] = r
  end
end

local function each_name(names, f)
  for i = 1, #names, PROCESS do f(string.sub(names, i, i + PROCESS - 1)) end
end

local function with_name(names, name)
  for i = 1, #names, PROCESS do
    if string.sub(names, i, i + PROCESS - 1) == name then return names end
  end
  return names .. name
end

local function tell(c, r)
  r.news = r.news + 1
  touch(c, r)
  if r.watchers == '' then return end
  each_name(r.watchers, function(p) c.call('PUBLISH', c.p .. ':c:' .. p, 'w' .. r.id) end)
  r.watchers = ''
end

local function leave(c, r) c.counts[r.state + 1] = c.counts[r.state + 1] - 1 end

local function enter(c, r, state)
  r.state = state
  c.counts[state + 1] = c.counts[state + 1] + 1
  c.moves = c.moves + 1
  r.place = c.moves
  c.index[r.id] = state * SPAN + r.place
  touch(c, r)
end

local function time(c, r, till)
  r.till = till
  c.times[r.id] = till
  if c.due == 0 or till < c.due then
    c.due = till
    c.is_sooner = true
  end
  touch(c, r)
end

local function untime(c, r)
  if r.till == 0 then return end
  r.till = 0
  c.times[r.id] = false
  touch(c, r)
end

-- ---------------------------------------------------------------- lanes and tenants

local function lane_key(c, script, key) return c.p .. ':w:' .. script .. key end
local function member(r) return struct.pack('>I5', r.rank) .. r.id end

-- What this call has added to the lane of those without a key, so that it may be read.
local function flush_lane(c, script)
  local l = c.lanes[script]
  if l == nil then return end
  c.lanes[script] = nil
  in_pieces(c, 'ZADD', lane_key(c, script, ''), l)
end

local function find_tenant(c, key)
  local t = c.keyed[key]
  if t ~= nil then return t or nil end
  local raw = c.call('GET', c.p .. ':t:' .. key)
  if not raw then
    c.keyed[key] = false
    return nil
  end
  t = {key = key, lanes = {}}
  local count, at
  t.turn, t.limit, t.active, t.jobs, count, at = struct.unpack('>I8I4I8I8I4', raw)
  for i = 1, count do
    local l = {tenant = t}
    l.jobs, l.script, l.at, at = struct.unpack('>I8I4c0I4c0', raw, at)
    t.lanes[i] = l
  end
  c.keyed[key] = t
  return t
end

local function write_tenant(c, t)
  local parts = {struct.pack('>I8I4I8I8I4', t.turn, t.limit, t.active, t.jobs, #t.lanes)}
  for i, l in ipairs(t.lanes) do
    parts[i + 1] = struct.pack('>I8I4c0I4c0', l.jobs, #l.script, l.script, #l.at, l.at)
  end
  put(c, c.p .. ':t:' .. t.key, table.concat(parts))
end

)lua"),
    std::string_view(R"lua(local function lane_of(c, script, key)
  local t = find_tenant(c, key)
  if t == nil then
    t = {key = key, turn = c.turns, limit = 0, active = 0, jobs = 0, lanes = {}}
    c.keyed[key] = t
    c.tenants = c.tenants + 1
  end
  for _, l in ipairs(t.lanes) do
    if l.script == script then return l end
  end
  local l = {tenant = t, script = script, at = '', jobs = 0}
  t.lanes[#t.lanes + 1] = l
  return l
end

-- One more job of this script and key that has not ended; whose it is.
local function join_tenant(c, script, key)
  local l = lane_of(c, script, key)
  l.jobs = l.jobs + 1
  l.tenant.jobs = l.tenant.jobs + 1
  return l.tenant
end

local function leave_tenant(c, script, key)
  local t = find_tenant(c, key)
  t.jobs = t.jobs - 1
  if t.jobs == 0 then
    c.tenants = c.tenants - 1
    c.keyed[key] = false
    c.gone[#c.gone + 1] = c.p .. ':t:' .. key
    return
  end
  for i, l in ipairs(t.lanes) do
    if l.script == script then
      l.jobs = l.jobs - 1
      if l.jobs == 0 then table.remove(t.lanes, i) end
      return
    end
  end
end

local function is_full(t) return t.limit ~= 0 and t.active >= t.limit end
local function wake(c, script) c.woken[script] = (c.woken[script] or 0) + 1 end

-- `at` is its place among those of its script that are ready, but for the key.
local function unready(c, l)
  if l.at == '' then return end
  c.call('ZREM', c.p .. ':y:' .. l.script, l.at .. l.tenant.key)
  l.at = ''
  c.ready[l.script] = nil
end

local function ready(c, l)
  if l.at ~= '' or is_full(l.tenant) then return end
  local first = c.call('ZRANGE', lane_key(c, l.script, l.tenant.key), 0, 0)[1]
  if not first then return end
  local rank, id = struct.unpack('>I5c16', first)
  l.at = struct.pack('>I5I7', rank, l.tenant.turn) .. id
  c.call('ZADD', c.p .. ':y:' .. l.script, '0', l.at .. l.tenant.key)
  c.ready[l.script] = nil
end

local function limit(c, t, together)
  if t.limit == together then return end
  t.limit = together
  for _, l in ipairs(t.lanes) do
    unready(c, l)
    ready(c, l)
    wake(c, l.script)
  end
end

-- It is in no state.
local function wait(c, r)
  enter(c, r, WAITING)
  if r.key == '' then
    local l = c.lanes[r.script]
    if l == nil then
      l = {}
      c.lanes[r.script] = l
    end
    l[#l + 1] = '0'
    l[#l + 1] = member(r)
  else
    local l = lane_of(c, r.script, r.key)
    unready(c, l)
    c.call('ZADD', lane_key(c, r.script, r.key), '0', member(r))
    ready(c, l)
  end
  tell(c, r)
  wake(c, r.script)
end

local function unwait(c, r)
  if r.key == '' then
    flush_lane(c, r.script)
    c.call('ZREM', lane_key(c, r.script, ''), member(r))
    return
  end
  local l = lane_of(c, r.script, r.key)
  unready(c, l)
  c.call('ZREM', lane_key(c, r.script, r.key), member(r))
  ready(c, l)
end

local function start(c, r, delay)
  if delay == 0 then return wait(c, r) end
  enter(c, r, DELAYED)
  time(c, r, c.now + delay)
  tell(c, r)
end

-- ---------------------------------------------------------------- ends

local function body(c, r, flag, name)
  if r[name] then return r[name] end
  if not has(r, flag) then return '' end
  return c.call('GET', c.p .. ':' .. name .. ':' .. r.id) or ''
end

local function keep_body(r, name, value)
  if not r.bodies then r.bodies = {} end
  r.bodies[name] = value
end

local function set_body(c, r, flag, name, value)
  r[name] = value
  if value == '' then
    if has(r, flag) then c.gone[#c.gone + 1] = c.p .. ':' .. name .. ':' .. r.id end
    unset(r, flag)
    keep_body(r, name, nil)
  else
    set(r, flag)
    keep_body(r, name, value)
  end
  touch(c, r)
end

-- To who has waited for it. The process fetches it.
local function push_end(c, r, process)
  local result, err = body(c, r, HAS_RESULT, 'r'), body(c, r, HAS_ERROR, 'e')
  -- `struct.pack` would copy a long result byte by byte.
  local what = r.id .. struct.pack('>BI4', r.state, #result) .. result ..
    struct.pack('>I4', #err) .. err
  if #what > BIG then
    c.call('SET', c.p .. ':b:' .. process .. r.id, what, 'EX', c.ends_live)
    what = r.id .. struct.pack('>B', 255)
  end
  local l = c.ends[process]
  if l == nil then
    l = {}
    c.ends[process] = l
  end
  l[#l + 1] = what
end

local function drop(c, r)
  untime(c, r)
  leave(c, r)
  c.index[r.id] = false
  tell(c, r)
  local g, p = c.gone, c.p
  g[#g + 1] = r.at
  if r.size ~= 0 then g[#g + 1] = c.request_key .. r.id end
  if has(r, HAS_RESULT) then g[#g + 1] = p .. ':r:' .. r.id end
  if has(r, HAS_ERROR) then g[#g + 1] = p .. ':e:' .. r.id end
  if has(r, HAS_PROGRESS) then g[#g + 1] = p .. ':g:' .. r.id end
  if has(r, HAS_OUTPUT) then g[#g + 1] = p .. ':o:' .. r.id end
  -- At once: another job may be known by it before this call is over.
  if r.once ~= '' then c.call('DEL', p .. ':k:' .. r.once) end
  r.is_gone = true
  c.jobs[r.id] = false
end

-- It is in no state.
local function finish(c, r, how)
  if r.key ~= '' then leave_tenant(c, r.script, r.key) end
  enter(c, r, how)
  tell(c, r)
  if r.waiters ~= '' then
    each_name(r.waiters, function(p) push_end(c, r, p) end)
    r.waiters = ''
  end
  if how == DEAD then return end
  if r.keep == 0 then return drop(c, r) end
  time(c, r, c.now + r.keep)
end

-- It is in no state. Whoever is asked to stop is not tried again.
local function again_or_dead(c, r, may_again, after)
  if has(r, STOP) then return finish(c, r, CANCELLED) end
  if may_again then return start(c, r, after) end
  finish(c, r, DEAD)
end

local function notice(c, r)
  local process = string.sub(r.holder, 1, PROCESS)
  local taker = string.match(r.holder, '^(%d*)', PROCESS + 1)
  c.call('PUBLISH', c.p .. ':c:' .. process, 'n' .. taker)
end

-- From its holder. It is in no state then.
local function take_back(c, r)
  untime(c, r)
  leave(c, r)
  r.fence = 0
  r.holder = ''
  touch(c, r)
  if r.key == '' then return end
  local t = find_tenant(c, r.key)
  local was_full = is_full(t)
  t.active = t.active - 1
  if not was_full then return end
  for _, l in ipairs(t.lanes) do
    ready(c, l)
    wake(c, l.script)
  end
end

-- ---------------------------------------------------------------- the end of a call

-- Changes of a sorted set: scores by their members, false for those that go.
local function flush_set(c, key, all)
  local to, from = {}, {}
  for m, score in pairs(all) do
    if score then
      to[#to + 1] = text(score)  -- Redis writes numbers of Lua as fractions, which takes longer
      to[#to + 1] = m
    else
      from[#from + 1] = m
    end
  end
  in_pieces(c, 'ZREM', key, from)
  in_pieces(c, 'ZADD', key, to)
end

local function flush_index(c)
  flush_set(c, c.p .. ':s', c.index)
  c.index = {}
end

-- So many of these states that have ended first.
local function drop_oldest(c, count, first, second)
  flush_index(c)
  local all = {}
  for _, state in ipairs({first, second}) do
    local got = c.call('ZRANGE', c.p .. ':s', state * SPAN, '(' .. text((state + 1) * SPAN),
                       'BYSCORE', 'LIMIT', 0, count, 'WITHSCORES')
    for i = 1, #got, 2 do all[#all + 1] = {got[i], got[i + 1] - state * SPAN} end
  end
  table.sort(all, function(a, b) return a[2] < b[2] end)
  local ids = {}
  for i = 1, math.min(count, #all) do ids[i] = all[i][1] end
  load_all(c, ids)
  for _, id in ipairs(ids) do
    local r = find(c, id)
    if r then drop(c, r) end
  end
  return #ids
end

local function keep_within_limits(c)
  local over = c.counts[COMPLETED + 1] + c.counts[CANCELLED + 1] - c.most_ended
  if over > 0 then drop_oldest(c, math.min(over, 1000), COMPLETED, CANCELLED) end
  over = c.counts[DEAD + 1] - c.most_dead
  if over > 0 then drop_oldest(c, math.min(over, 1000), DEAD) end
end

local function flush_records(c)
  in_pieces(c, 'DEL', nil, c.gone)
  for _, r in ipairs(c.dirty) do
    if not r.is_gone then
      put(c, r.at, pack(r))
      if r.bodies then
        for name, value in pairs(r.bodies) do put(c, c.p .. ':' .. name .. ':' .. r.id, value) end
      end
    end
  end
  for _, t in pairs(c.keyed) do
    if t then write_tenant(c, t) end
  end
end

-- To as many as there are jobs for, and are there.
local function wake_up(c, script, count)
  local key = c.p .. ':h:' .. script
  while count > 0 do
    local first = c.call('ZPOPMIN', key)[1]
    if not first then return end
    local to = string.sub(first, 1, PROCESS)
    if c.call('PUBLISH', c.p .. ':c:' .. to, 't' .. string.sub(first, PROCESS + 1)) > 0 then
      count = count - 1
    end
  end
end

local function flush_ends(c)
  for process, l in pairs(c.ends) do
    local key = c.p .. ':ends:' .. process
    in_pieces(c, 'RPUSH', key, l)
    if process ~= c.process or c.flags % 2 == 0 then
      c.call('EXPIRE', key, c.ends_live)
      c.call('PUBLISH', c.p .. ':c:' .. process, 'e')
    end
  end
end

)lua"),
    std::string_view(R"lua(local function finish_call(c, answers)
  for script in pairs(c.lanes) do flush_lane(c, script) end
  keep_within_limits(c)
  flush_records(c)
  flush_index(c)
  flush_set(c, c.p .. ':d', c.times)
  flush_ends(c)
  for script, count in pairs(c.woken) do wake_up(c, script, math.min(count, 4)) end
  if c.is_sooner then
    c.call('PUBLISH', c.p .. ':due', text(math.max(c.due - c.now, 0)))
  end
  put(c, c.p .. ':meta', write_meta(c))
  in_pieces(c, 'MSET', nil, c.sets)
  if answers then
    local packed = struct.pack('>I8', c.seq) .. cmsgpack.pack(answers)
    c.call('SET', c.p .. ':x:' .. c.process .. c.kind, packed, 'EX', REMEMBERED)
  end
end

-- The answers of this call, if it was here before; false if a later one was.
local function answered(c)
  if not c.answered then return nil end
  local seq = struct.unpack('>I8', c.answered)
  if seq > c.seq then return false end
  if seq < c.seq then return nil end
  return cmsgpack.unpack(string.sub(c.answered, 9))
end

local function stale() return redis.error_reply('TROUPESTALE a later call was answered') end

local function about(c)
  return struct.pack('>I8I8', c.epoch, c.due == 0 and 2 ^ 53 or math.max(c.due - c.now, 0))
end

-- ---------------------------------------------------------------- adding

local function known_by(c, once)
  local id = c.call('GET', c.p .. ':k:' .. once)
  return id and find(c, id)
end

local function await_end(c, r)
  if r.state >= COMPLETED then
    push_end(c, r, c.process)
  else
    r.waiters = with_name(r.waiters, c.process)
    touch(c, r)
  end
end

local function has_room(c)
  local n = c.counts
  if n[1] + n[2] + n[3] + n[4] + n[5] + n[6] < c.most_jobs then return true end
  return drop_oldest(c, 1, COMPLETED, CANCELLED) > 0
end

-- Its number; 'F' where there is no room.
local function add(c, item, request)
  local waits, delay, at = struct.unpack('>BI8', item)
  local r = fresh('', '', string.sub(item, at), waits == 1 and c.process or '')
  if r.once ~= '' then
    local same = known_by(c, r.once)
    if same then
      if waits == 1 then await_end(c, same) end
      return same.id
    end
  end
  if not has_room(c) then return 'F' end
  c.numbers = math.max(c.numbers + 1, c.now)
  r.id = digits(c.numbers)
  r.at = c.job_key .. r.id
  c.jobs[r.id] = r
  if r.size ~= 0 then put(c, c.request_key .. r.id, request) end
  if r.once ~= '' then c.call('SET', c.p .. ':k:' .. r.once, r.id) end
  if r.key ~= '' then
    limit(c, join_tenant(c, r.script, r.key), r.together)
  end
  start(c, r, delay)
  return r.id
end

local function add_all(keys, args)
  local c, why = begin(keys, args, 'a', true)
  if not c then return why end
  local before = answered(c)
  if before == false then return stale() end
  if before then return {about(c), before, {}} end
  local answers = {}
  for i = 3, #args, 2 do answers[#answers + 1] = add(c, args[i], args[i + 1]) end
  finish_call(c, answers)
  return {about(c), answers, {}}
end

-- ---------------------------------------------------------------- taking

-- The first of those without a key, as far as `most` may be taken.
local function first_of_own(c, own, script, most)
  local l = own[script]
  if l == nil then
    flush_lane(c, script)
    l = {all = c.call('ZRANGE', lane_key(c, script, ''), 0, most - 1), used = 0}
    own[script] = l
  end
  return l.all[l.used + 1]
end

local function first_ready(c, script)
  local first = c.ready[script]
  if first == nil then
    first = c.call('ZRANGE', c.p .. ':y:' .. script, 0, 0)[1] or false
    c.ready[script] = first
  end
  return first
end

local function is_before(a, b)
  if a.rank ~= b.rank then return a.rank < b.rank end
  if a.turn ~= b.turn then return a.turn < b.turn end
  return a.id < b.id
end

-- The best lane of these scripts: which job, and whose.
local function best_of(c, own, scripts, most)
  local best
  for _, script in ipairs(scripts) do
    local first = first_of_own(c, own, script, most)
    if first then
      local l = {script = script, turn = c.nobody}
      l.rank, l.id = struct.unpack('>I5c16', first)
      if not best or is_before(l, best) then best = l end
    end
    local keyed = c.tenants > 0 and first_ready(c, script)
    if keyed then
      local l = {script = script}
      local at
      l.rank, l.turn, l.id, at = struct.unpack('>I5I7c16', keyed)
      l.key = string.sub(keyed, at)
      if not best or is_before(l, best) then best = l end
    end
  end
  return best
end

local function serve_turn(c, best)
  c.turns = c.turns + 1
  local t = find_tenant(c, best.key)
  for _, l in ipairs(t.lanes) do unready(c, l) end
  c.call('ZREM', lane_key(c, best.script, best.key), struct.pack('>I5', best.rank) .. best.id)
  t.active = t.active + 1
  t.turn = c.turns
  for _, l in ipairs(t.lanes) do ready(c, l) end
end

local function unlist_taken(c, own)
  for script, l in pairs(own) do
    if l.used > 0 then c.call('ZREMRANGEBYRANK', lane_key(c, script, ''), 0, l.used - 1) end
  end
end

local function choose_of_one(c, script, most)
  flush_lane(c, script)
  local key = lane_key(c, script, '')
  local all = c.call('ZRANGE', key, 0, most - 1)
  for i = 1, #all do all[i] = string.sub(all[i], 6) end
  if #all > 0 then c.call('ZREMRANGEBYRANK', key, 0, #all - 1) end
  return all
end

-- The numbers, in the order in which they are to be had.
local function choose(c, scripts, most)
  if c.tenants == 0 and #scripts == 1 then return choose_of_one(c, scripts[1], most) end
  local own, ids = {}, {}
  while #ids < most do
    local best = best_of(c, own, scripts, most)
    if not best then break end
    if best.key then
      serve_turn(c, best)
    else
      own[best.script].used = own[best.script].used + 1
      if c.tenants > 0 then
        c.turns = c.turns + 1
        c.nobody = c.turns
      end
    end
    ids[#ids + 1] = best.id
  end
  unlist_taken(c, own)
  return ids
end

local function hand(c, r, holder)
  leave(c, r)
  enter(c, r, ACTIVE)
  c.fences = math.max(c.fences + 1, c.now)
  r.fence = c.fences
  r.holder = holder
  r.attempt = r.attempt + 1
  time(c, r, c.now + r.lease)
  tell(c, r)
end

local function read_scripts(packed)
  local scripts, at = {}, 1
  while at <= #packed do
    scripts[#scripts + 1], at = struct.unpack('>I4c0', packed, at)
  end
  return scripts
end

local function is_waiting(c, script)
  if c.call('ZCARD', lane_key(c, script, '')) > 0 then return true end
  return c.tenants > 0 and first_ready(c, script)
end

-- Whoever has enough lets the next one have the rest.
local function pass_on(c, scripts)
  for _, script in ipairs(scripts) do
    flush_lane(c, script)
    if is_waiting(c, script) then wake(c, script) end
  end
end

local function be_hungry(c, taker, scripts, is_hungry)
  for _, script in ipairs(scripts) do
    if is_hungry then
      c.call('ZADD', c.p .. ':h:' .. script, 'NX', c.now, c.process .. taker)
    else
      c.call('ZREM', c.p .. ':h:' .. script, c.process .. taker)
    end
  end
end

-- Number and fence of each.
local function take(c, taker, wanted, was_hungry, name, packed)
  local scripts = read_scripts(packed)
  local ids = choose(c, scripts, wanted)
  load_all(c, ids)
  local holder = c.process .. taker .. '/' .. name
  local got = {}
  for i, id in ipairs(ids) do
    local r = find(c, id)
    hand(c, r, holder)
    got[i] = id .. struct.pack('>I7', r.fence)
  end
  local is_hungry = #ids < wanted
  if is_hungry or was_hungry then be_hungry(c, taker, scripts, is_hungry) end
  if not is_hungry then pass_on(c, scripts) end
  return table.concat(got)
end

-- What was handed out, with all that is to be known of it; nothing for a request that is large.
local function deliver(c, got)
  local all, keys, places = {}, {}, {}
  for at = 1, #got, 23 do
    local id, fence = struct.unpack('>c16I7', got, at)
    local r = find(c, id)
    if r and r.fence == fence then
      all[#all + 1] = id .. struct.pack('>I7I4I4I4I8I4', fence, r.attempt, r.failures,
                                        r.losses, r.output, r.pieces)
      all[#all + 1] = r.request
      if r.size ~= 0 and r.size <= BIG then
        keys[#keys + 1] = c.request_key .. id
        places[#places + 1] = #all
      end
    end
  end
  if #keys == 0 then return all end
  for i, request in ipairs(c.call('MGET', unpack(keys))) do all[places[i]] = request or '' end
  return all
end

-- ---------------------------------------------------------------- what instruments do

local function held(c, taker, id, fence)
  local r = find(c, id)
  if not r or r.state ~= ACTIVE or r.fence ~= fence then return nil end
  local holder = c.holders[taker]
  if holder == nil then
    holder = c.process .. text(taker) .. '/'
    c.holders[taker] = holder
  end
  if string.find(r.holder, holder, 1, true) ~= 1 then return nil end
  return r
end

local function renew(c, r)
  time(c, r, c.now + r.lease)
  return has(r, STOP) and 's' or 'h'
end

)lua"),
    std::string_view(R"lua(local RELEASED = 5
local commits = {
  [0] = function(c, r, after, result)  -- completed
    set_body(c, r, HAS_RESULT, 'r', result)
    finish(c, r, COMPLETED)
  end,
  function(c, r, after)  -- failed
    r.failures = r.failures + 1
    again_or_dead(c, r, r.failures < r.attempts, after)
  end,
  function(c, r, after)  -- crashed: a failure and a loss
    r.failures = r.failures + 1
    r.losses = r.losses + 1
    again_or_dead(c, r, r.failures < r.attempts and r.losses < r.most_losses, after)
  end,
  function(c, r) finish(c, r, DEAD) end,       -- refused
  function(c, r) finish(c, r, CANCELLED) end,  -- cancelled
  function(c, r)                               -- released
    r.attempt = r.attempt - 1
    again_or_dead(c, r, true, 0)
  end
}

local function commit(c, r, kind, after, result, err)
  take_back(c, r)
  if kind ~= RELEASED then set_body(c, r, HAS_ERROR, 'e', err) end
  commits[kind](c, r, after, result)
  return '1'
end

local function write(c, r, is_progress, what)
  if is_progress then
    if #what > c.most_output then return '0' end
    r.progress_news = r.news + 1
    set(r, HAS_PROGRESS)
    keep_body(r, 'g', what)
  else
    if r.pieces >= c.most_pieces or r.output + #what > c.most_output then return '0' end
    r.output = r.output + #what
    r.pieces = r.pieces + 1
    set(r, HAS_OUTPUT)
    c.call('RPUSH', c.p .. ':o:' .. r.id, struct.pack('>I7', r.news + 1) .. what)
  end
  tell(c, r)
  return '1'
end

-- ---------------------------------------------------------------- what is asked of jobs

local function cancel(c, r)
  if r.state >= COMPLETED then return '0' end
  if r.state == ACTIVE then
    set(r, STOP)
    touch(c, r)
    notice(c, r)
    return '1'
  end
  if r.state == WAITING then unwait(c, r) else untime(c, r) end
  leave(c, r)
  finish(c, r, CANCELLED)
  return '1'
end

local function forget_past(c, r)
  r.failures, r.losses, r.attempt, r.output, r.pieces, r.progress_news = 0, 0, 0, 0, 0, 0
  unset(r, STOP)
  set_body(c, r, HAS_ERROR, 'e', '')
  set_body(c, r, HAS_PROGRESS, 'g', '')
  if has(r, HAS_OUTPUT) then c.call('DEL', c.p .. ':o:' .. r.id) end
  unset(r, HAS_OUTPUT)
end

local function requeue(c, r)
  if r.state ~= DEAD then return '0' end
  local t = r.key ~= '' and join_tenant(c, r.script, r.key)
  forget_past(c, r)
  untime(c, r)
  leave(c, r)
  if t then limit(c, t, r.together) end
  wait(c, r)
  return '1'
end

local function purge(c, r)
  if r.state < COMPLETED then return '0' end
  drop(c, r)
  return '1'
end

local function unknown(c, id)
  local number = tonumber(id)
  return number ~= 0 and number <= c.numbers and 'l' or 'n'
end

-- The op of an item, and how many arguments it has.
local widths = {t = 3, c = 3, r = 1, p = 2, x = 1, q = 1, d = 1, w = 1, s = 2}

local function perform(c, op, args, i)
  if op == 't' then
    local _, taker, wanted, was_hungry = struct.unpack('>BI4I4B', args[i])
    return take(c, text(taker), wanted, was_hungry == 1, args[i + 1], args[i + 2])
  elseif op == 's' then
    local _, taker = struct.unpack('>BI4', args[i])
    local scripts = read_scripts(args[i + 1])
    be_hungry(c, text(taker), scripts, false)
    pass_on(c, scripts)
    return '1'
  elseif op == 'c' then
    local _, taker, id, fence, kind, after = struct.unpack('>BI4c16I7BI8', args[i])
    local r = held(c, taker, id, fence)
    return r and commit(c, r, kind, after, args[i + 1], args[i + 2]) or '0'
  elseif op == 'r' then
    local _, taker, id, fence = struct.unpack('>BI4c16I7', args[i])
    local r = held(c, taker, id, fence)
    return r and renew(c, r) or 'l'
  elseif op == 'p' then
    local _, taker, id, fence, is_progress = struct.unpack('>BI4c16I7B', args[i])
    local r = held(c, taker, id, fence)
    return r and write(c, r, is_progress == 1, args[i + 1]) or '0'
  end
  local id = string.sub(args[i], 2)
  local r = find(c, id)
  if op == 'w' then
    if not r then return unknown(c, id) end
    await_end(c, r)
    return 'w'
  end
  if not r then return '0' end
  if op == 'x' then return cancel(c, r) end
  if op == 'q' then return requeue(c, r) end
  return purge(c, r)
end

local function prefetch(c, args)
  local ids, i = {}, 3
  while i <= #args do
    local op = string.sub(args[i], 1, 1)
    if op == 'c' or op == 'r' or op == 'p' then
      ids[#ids + 1] = string.sub(args[i], 6, 21)
    elseif op ~= 't' and op ~= 's' then
      ids[#ids + 1] = string.sub(args[i], 2)
    end
    i = i + widths[op]
  end
  load_all(c, ids)
end

local function perform_all(c, args, before)
  local answers, i = {}, 3
  while i <= #args do
    local op = string.sub(args[i], 1, 1)
    if before and op ~= 'w' then
      answers[#answers + 1] = before[#answers + 1]
    else
      answers[#answers + 1] = perform(c, op, args, i)
    end
    i = i + widths[op]
  end
  return answers
end

local function with_deliveries(c, args, answers)
  local full, i, n = {}, 3, 1
  while i <= #args do
    local op = string.sub(args[i], 1, 1)
    full[n] = op == 't' and deliver(c, answers[n]) or answers[n]
    i = i + widths[op]
    n = n + 1
  end
  return full
end

-- `ack`: so many of the list were had with an answer before, up to that of the job `acked`.
local function fetch(c, again)
  if c.flags % 2 == 0 then return {} end
  local key = c.p .. ':ends:' .. c.process
  if c.ack > 0 and not again then
    local last = c.call('LINDEX', key, c.ack - 1)
    if last and string.sub(last, 1, 16) == c.acked then c.call('LTRIM', key, c.ack, -1) end
  end
  local all = c.call('LRANGE', key, 0, 127)
  if #all > 0 then c.call('EXPIRE', key, c.ends_live) end
  return all
end

local function work(keys, args)
  local c, why = begin(keys, args, 'w', true)
  if not c then return why end
  local before = answered(c)
  if before == false then return stale() end
  prefetch(c, args)
  local answers = perform_all(c, args, before)
  local full = with_deliveries(c, args, answers)
  finish_call(c, answers)
  return {about(c), full, fetch(c, before ~= nil)}
end

-- ---------------------------------------------------------------- time

local function lose(c, r, err, err_for_good)
  notice(c, r)
  take_back(c, r)
  r.losses = r.losses + 1
  local may_again = r.losses < r.most_losses
  set_body(c, r, HAS_ERROR, 'e', may_again and err or err_for_good)
  again_or_dead(c, r, may_again, 0)
end

local function look_at_due(c, r, err, err_for_good)
  if r.state == DELAYED then
    untime(c, r)
    leave(c, r)
    wait(c, r)
  elseif r.state == ACTIVE then
    lose(c, r, err, err_for_good)
  else
    drop(c, r)
  end
end

-- args: what is said of those that are lost, and of those that are lost too often.
local function sweep(keys, args)
  local c, why = begin(keys, args, 's', true)
  if not c then return why end
  local ids = c.call('ZRANGE', c.p .. ':d', '-inf', c.now, 'BYSCORE', 'LIMIT', 0, 200)
  load_all(c, ids)
  for _, id in ipairs(ids) do
    local r = find(c, id)
    if r then look_at_due(c, r, args[3], args[4]) else c.times[id] = false end
    keep_within_limits(c)
  end
  flush_set(c, c.p .. ':d', c.times)
  c.times = {}
  local next = c.call('ZRANGE', c.p .. ':d', 0, 0, 'WITHSCORES')
  c.due = next[2] and tonumber(next[2]) or 0
  c.is_sooner = false
  finish_call(c)
  return {about(c), {}, {}}
end

-- ---------------------------------------------------------------- looking

local function describe(c, r, to)
  to[#to + 1] = r.id .. struct.pack('>BI4I4I4BBI8', r.state, r.attempt, r.failures, r.losses,
    has(r, STOP) and 1 or 0, r.till ~= 0 and 1 or 0,
    r.till ~= 0 and math.max(r.till - c.now, 0) or 0)
  to[#to + 1] = string.match(string.sub(r.holder, PROCESS + 1), '/(.*)$') or ''
  to[#to + 1] = r.size == 0 and r.request or c.call('GET', c.request_key .. r.id)
  to[#to + 1] = body(c, r, HAS_RESULT, 'r')
  to[#to + 1] = body(c, r, HAS_ERROR, 'e')
  return #to[#to - 2] + #to[#to - 1] + #to[#to]
end

local function get(keys, args)
  local c, why = begin(keys, args, 'r', false)
  if not c then return why end
  local found = {}
  local r = find(c, args[3])
  if r then describe(c, r, found) end
  return {about(c), found, {}}
end

local function counts(keys, args)
  local c, why = begin(keys, args, 'r', false)
  if not c then return why end
  local n = c.counts
  return {about(c), {struct.pack('>I8I8I8I8I8I8', n[1], n[2], n[3], n[4], n[5], n[6])}, {}}
end

-- Where a list goes on from a job that has left it.
local function place_of(c, state, id)
  local from = state * SPAN
  local score = c.call('ZSCORE', c.p .. ':s', id)
  if score and tonumber(score) >= from and tonumber(score) < from + SPAN then
    return tonumber(score)
  end
  local number, at = tonumber(id), 0
  while at < 100000 do
    local got = c.call('ZRANGE', c.p .. ':s', from, '(' .. text(from + SPAN), 'BYSCORE',
                       'LIMIT', at, 1000, 'WITHSCORES')
    for i = 1, #got, 2 do
      if tonumber(got[i]) >= number then return tonumber(got[i + 1]) end
    end
    if #got < 2000 then return from + SPAN end
    at = at + 1000
  end
  return from
end

)lua"),
    std::string_view(R"lua(-- args: state, most, bytes, from or nothing
local function list(keys, args)
  local c, why = begin(keys, args, 'r', false)
  if not c then return why end
  local state, most, bytes = tonumber(args[3]), tonumber(args[4]), tonumber(args[5])
  local from = args[6] and place_of(c, state, args[6]) or state * SPAN
  local ids = c.call('ZRANGE', c.p .. ':s', from, '(' .. text((state + 1) * SPAN), 'BYSCORE',
                     'LIMIT', 0, most + 1)
  load_all(c, ids)
  local found, size, count = {}, 0, 0
  while count < #ids and count < most and (count == 0 or size < bytes) do
    count = count + 1
    size = size + describe(c, find(c, ids[count]), found)
  end
  return {about(c), found, {ids[count + 1]}}
end

-- Output from the first piece after `number` on, which is found by halving.
local function output_after(c, r, number)
  local key = c.p .. ':o:' .. r.id
  local low, high = 0, r.pieces
  while low < high do
    local middle = math.floor((low + high) / 2)
    if struct.unpack('>I7', c.call('LINDEX', key, middle)) > number then
      high = middle
    else
      low = middle + 1
    end
  end
  if low >= r.pieces then return {} end
  return c.call('LRANGE', key, low, -1)
end

-- args: id, number. What has come after it; or the caller will be told when something does.
local function news(keys, args)
  local c, why = begin(keys, args, 'n', true)
  if not c then return why end
  local r = find(c, args[3])
  if not r then return {about(c), {unknown(c, args[3])}, {}} end
  local number = tonumber(args[4])
  if r.news <= number and r.state < COMPLETED then
    local names = with_name(r.watchers, c.process)
    if names ~= r.watchers then
      r.watchers = names
      c.call('SET', c.p .. ':j:' .. r.id, pack(r))
    end
    return {about(c), {'w'}, {}}
  end
  local progress = has(r, HAS_PROGRESS) and r.progress_news > number
  local found = {struct.pack('>BI8B', r.state, r.news, progress and 1 or 0),
                 progress and c.call('GET', c.p .. ':g:' .. r.id) or ''}
  local output = has(r, HAS_OUTPUT) and output_after(c, r, number) or {}
  return {about(c), found, output}
end

local function register(name, f, flags)
  redis.register_function{function_name = 'troupe_jobs_@_' .. name, callback = f, flags = flags}
end

register('add', add_all, {})
register('work', work, {'allow-oom'})
register('sweep', sweep, {'allow-oom'})
register('news', news, {'allow-oom'})
register('get', get, {'no-writes'})
register('counts', counts, {'no-writes'})
register('list', list, {'no-writes'})
)lua"),
};

/// FNV-1a of the text.
constexpr std::uint64_t redis_job_library_hash() noexcept {
  std::uint64_t hash = 0xcbf2'9ce4'8422'2325U;
  for (const std::string_view part : redis_job_library_parts) {
    for (const char c : part) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100'0000'01b3U;
  }
  return hash;
}

/// What stands for `@`.
inline std::string redis_job_library_tag() {
  static const std::uint64_t hash = redis_job_library_hash();  // of a long text, so once
  return "1_" + std::to_string(hash);
}

inline std::string redis_job_library() {
  const std::string tag = redis_job_library_tag();
  std::string text;
  for (const std::string_view part : redis_job_library_parts) {
    for (const char c : part) {
      if (c == '@') {
        text += tag;
      } else {
        text += c;
      }
    }
  }
  return text;
}

/// As Redis knows it.
inline std::string redis_job_function(std::string_view name) {
  return "troupe_jobs_" + redis_job_library_tag() + '_' + std::string(name);
}

}  // namespace troupe::detail
