-- What wrk sends: the arguments are a file of tokens, the path, the status that every answer has to
-- have, how many tokens to skip, the longest pause before a request in ms, 0 for none, and how many
-- headers there are besides.

local threads = {}
local requests = {}
local last = 0

function setup(thread)
  table.insert(threads, thread)
end

function init(arguments)
  local tokens, path, expected, first, pause, more = unpack(arguments)
  local headers = {}
  for number = 1, tonumber(more) do
    headers["X-Header-" .. number] = "a value of some length"
  end
  for token in io.lines(tokens) do
    headers.Authorization = "Bearer " .. token
    requests[#requests + 1] = wrk.format("GET", path, headers)
  end
  status = tonumber(expected)
  wrong = 0
  last = tonumber(first)
  if tonumber(pause) > 0 then
    math.randomseed(last)
    -- Random, so that connections do not march in step.
    delay = function() return math.random(0, tonumber(pause)) end
  end
  io.write("ready\n")
  io.flush()
end

function request()
  last = last % #requests + 1
  return requests[last]
end

function response(actual)
  if actual ~= status then
    wrong = actual
  end
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '{"requests": %d, "seconds": %f, "wrong_status": %d, "errors": %d, "p50": %f, "p99": %f}\n',
    summary.requests, summary.duration / 1e6, threads[1]:get("wrong"),
    errors.connect + errors.read + errors.write + errors.timeout,
    latency:percentile(50), latency:percentile(99)))
end
