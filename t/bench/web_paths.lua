-- For wrk: asks for the paths of a file, in turn. wrk ... -s web_paths.lua URL -- FILE
local paths, at = {}, 0

function init(args)
  for line in io.lines(args[1]) do paths[#paths + 1] = line end
  at = math.random(#paths)
end

function request()
  at = at % #paths + 1
  return wrk.format("GET", paths[at])
end

function done(summary, latency, requests)
  local errors = summary.errors
  local bad = errors.connect + errors.read + errors.write + errors.status + errors.timeout
  io.write(string.format('{"requests": %d, "us": %d, "bad": %d, "p99_us": %d, "bytes": %d}\n',
    summary.requests, summary.duration, bad, latency:percentile(99), summary.bytes))
end
