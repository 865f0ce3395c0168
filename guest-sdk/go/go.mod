module holdfast.dev/holdfast

go 1.25
