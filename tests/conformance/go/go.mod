module conformance

go 1.25

require holdfast.dev/holdfast v0.1.0

replace holdfast.dev/holdfast => ../../../guest-sdk/go
