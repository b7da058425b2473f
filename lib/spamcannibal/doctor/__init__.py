"""Is this host well, and if not, what cures it: findings made from facts.

| module | findings about |
|---|---|
| packets | what the kernel can do, our rules, the queues and who reads them |
| keeping | never-list, database, clock, jobs |
| asked | whoever was asked: DNS server, zones, drift, resolvers, remote lists, listeners, the robot's keys |
| process | which processes are services of ours |
| host, reach | shells: they gather the facts, from this host and over the network |
"""
