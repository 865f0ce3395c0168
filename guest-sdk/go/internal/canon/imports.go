//go:build wasip1

package canon

import "unsafe"

// The functions of wit/ as the canonical ABI lowers them: a text or a list of bytes is a string, any other list an address and a length,
// an option or a variant a number and its payload; what is returned goes to the address that is given last.

//go:wasmimport holdfast:object/identity@0.2.0 id
func identityID(result unsafe.Pointer)

//go:wasmimport holdfast:object/identity@0.2.0 name
func identityName(result unsafe.Pointer)

//go:wasmimport holdfast:object/identity@0.2.0 class
func identityClass(result unsafe.Pointer)

//go:wasmimport holdfast:object/key-value@0.2.0 get
func keyValueGet(key string, result unsafe.Pointer)

//go:wasmimport holdfast:object/key-value@0.2.0 get-many
func keyValueGetMany(keys unsafe.Pointer, count uint32, result unsafe.Pointer)

//go:wasmimport holdfast:object/key-value@0.2.0 put
func keyValuePut(key, value string, result unsafe.Pointer)

//go:wasmimport holdfast:object/key-value@0.2.0 put-many
func keyValuePutMany(entries unsafe.Pointer, count uint32, result unsafe.Pointer)

//go:wasmimport holdfast:object/key-value@0.2.0 delete
func keyValueDelete(key string, result unsafe.Pointer)

//go:wasmimport holdfast:object/key-value@0.2.0 delete-many
func keyValueDeleteMany(keys unsafe.Pointer, count uint32, result unsafe.Pointer)

//go:wasmimport holdfast:object/key-value@0.2.0 list
func keyValueList(
	hasStart int32, start string, hasStartAfter int32, startAfter string, hasEnd int32, end string, hasPrefix int32, prefix string,
	reverse bool, hasLimit int32, limit uint32, result unsafe.Pointer,
)

//go:wasmimport holdfast:object/key-value@0.2.0 [method]entries.next
func entriesNext(entries, max uint32, result unsafe.Pointer)

//go:wasmimport holdfast:object/key-value@0.2.0 [resource-drop]entries
func entriesDrop(entries uint32)

//go:wasmimport holdfast:object/packed-sql@0.2.0 exec
func packedSQLExec(text string, parameters unsafe.Pointer, count uint32, result unsafe.Pointer)

//go:wasmimport holdfast:object/packed-sql@0.2.0 next
func packedSQLNext(cursor, max uint32, result unsafe.Pointer)

//go:wasmimport holdfast:object/sql@0.2.0 [resource-drop]cursor
func cursorDrop(cursor uint32)

//go:wasmimport holdfast:object/storage@0.2.0 open-savepoint
func storageOpenSavepoint(result unsafe.Pointer)

//go:wasmimport holdfast:object/storage@0.2.0 [method]savepoint.keep
func savepointKeep(savepoint uint32, result unsafe.Pointer)

//go:wasmimport holdfast:object/storage@0.2.0 [resource-drop]savepoint
func savepointDrop(savepoint uint32)

//go:wasmimport holdfast:object/storage@0.2.0 size
func storageSize(result unsafe.Pointer)

//go:wasmimport holdfast:object/storage@0.2.0 delete-all
func storageDeleteAll(result unsafe.Pointer)

//go:wasmimport holdfast:object/storage@0.2.0 sync
func storageSync(result unsafe.Pointer)

//go:wasmimport holdfast:object/alarms@0.2.0 get
func alarmsGet(result unsafe.Pointer)

//go:wasmimport holdfast:object/alarms@0.2.0 set
func alarmsSet(millis uint64, result unsafe.Pointer)

//go:wasmimport holdfast:object/alarms@0.2.0 delete
func alarmsDelete(result unsafe.Pointer)

//go:wasmimport holdfast:object/websockets@0.2.0 accept
func websocketsAccept(tags unsafe.Pointer, count uint32, result unsafe.Pointer)

//go:wasmimport holdfast:object/websockets@0.2.0 sockets
func websocketsSockets(hasTag int32, tag string, result unsafe.Pointer)

//go:wasmimport holdfast:object/websockets@0.2.0 tags
func websocketsTags(socket uint64, result unsafe.Pointer)

//go:wasmimport holdfast:object/websockets@0.2.0 attachment
func websocketsAttachment(socket uint64, result unsafe.Pointer)

//go:wasmimport holdfast:object/websockets@0.2.0 set-attachment
func websocketsSetAttachment(socket uint64, hasAttachment int32, attachment string, result unsafe.Pointer)

//go:wasmimport holdfast:object/websockets@0.2.0 send
func websocketsSend(socket uint64, kind int32, data string, result unsafe.Pointer)

//go:wasmimport holdfast:object/websockets@0.2.0 broadcast
func websocketsBroadcast(hasTag int32, tag string, kind int32, data string, result unsafe.Pointer)

//go:wasmimport holdfast:object/websockets@0.2.0 buffered
func websocketsBuffered(socket uint64, result unsafe.Pointer)

//go:wasmimport holdfast:object/websockets@0.2.0 close
func websocketsClose(socket uint64, hasCode int32, code uint32, reason string, result unsafe.Pointer)

//go:wasmimport holdfast:object/websockets@0.2.0 auto-response
func websocketsAutoResponse(result unsafe.Pointer)

//go:wasmimport holdfast:object/websockets@0.2.0 set-auto-response
func websocketsSetAutoResponse(hasPair int32, request, response string, result unsafe.Pointer)

//go:wasmimport holdfast:object/websockets@0.2.0 auto-response-time
func websocketsAutoResponseTime(socket uint64, result unsafe.Pointer)

//go:wasmimport holdfast:object/later@0.2.0 resume-after
func laterResumeAfter(millis uint64, holds bool, result unsafe.Pointer)

//go:wasmimport holdfast:object/later@0.2.0 cancel
func laterCancel(token uint64) bool

//go:wasmimport holdfast:object/later@0.2.0 defer
func laterDefer(result unsafe.Pointer)

//go:wasmimport holdfast:object/later@0.2.0 reply
func laterReply(deferred uint64, kind, a, b, c, d, e uint32, result unsafe.Pointer)

//go:wasmimport holdfast:object/later@0.2.0 on-gone
func laterOnGone(deferred uint64, result unsafe.Pointer)

//go:wasmimport holdfast:object/later@0.2.0 accept
func laterAccept(deferred uint64, tags unsafe.Pointer, count uint32, result unsafe.Pointer)

//go:wasmimport holdfast:object/later@0.2.0 hold-for
func laterHoldFor(socket uint64, result unsafe.Pointer)

//go:wasmimport holdfast:object/later@0.2.0 exclusive
func laterExclusive(on bool)

//go:wasmimport holdfast:object/later@0.2.0 drop-instance
func laterDropInstance()

//go:wasmimport holdfast:object/logging@0.2.0 log
func loggingLog(level uint32, message string, fields unsafe.Pointer, count uint32)
