//go:build wasip1

package canon

import (
	"runtime"

	"holdfast.dev/holdfast/internal/contract"
)

func (host) Accept(tags []string) (socket uint64, err error) {
	lowered := spansOf(tags)
	result := begin()
	defer end()
	websocketsAccept(first(lowered), uint32(len(lowered)), result.at)
	runtime.KeepAlive(tags)
	if err := webSocketErrors.in(result, 8); err != nil {
		return 0, err
	}
	return result.u64(8), nil
}

func (host) Sockets(tag string) []uint64 {
	result := begin()
	defer end()
	websocketsSockets(given(tag), tag, result.at)
	sockets := make([]uint64, 0, result.u32(4))
	result.list(0, 8, func(element place) { sockets = append(sockets, element.u64(0)) })
	return sockets
}

func (host) Broadcast(tag string, message contract.Message) (receivers int, err error) {
	kind, data := messageParts(message)
	result := begin()
	defer end()
	websocketsBroadcast(given(tag), tag, kind, data, result.at)
	if err := webSocketErrors.in(result, 8); err != nil {
		return 0, err
	}
	return int(result.u32(8)), nil
}

func (host) Tags(socket uint64) ([]string, error) {
	result := begin()
	defer end()
	websocketsTags(socket, result.at)
	if err := webSocketErrors.in(result, 8); err != nil {
		return nil, err
	}
	return result.texts(8), nil
}

func (host) Attachment(socket uint64) (attachment []byte, ok bool, err error) {
	result := begin()
	defer end()
	websocketsAttachment(socket, result.at)
	if err := webSocketErrors.in(result, 8); err != nil || !result.bool(8) {
		return nil, false, err
	}
	return result.bytes(12), true, nil
}

func (host) SetAttachment(socket uint64, attachment []byte) error {
	var some int32
	if attachment != nil {
		some = 1
	}
	result := begin()
	defer end()
	websocketsSetAttachment(socket, some, shared(attachment), result.at)
	return webSocketErrors.in(result, 8)
}

func (host) Send(socket uint64, message contract.Message) error {
	kind, data := messageParts(message)
	result := begin()
	defer end()
	websocketsSend(socket, kind, data, result.at)
	return webSocketErrors.in(result, 8)
}

func (host) Buffered(socket uint64) (uint64, error) {
	result := begin()
	defer end()
	websocketsBuffered(socket, result.at)
	if err := webSocketErrors.in(result, 8); err != nil {
		return 0, err
	}
	return result.u64(8), nil
}

func (host) CloseSocket(socket uint64, code uint16, reason string) error {
	var some int32
	if code != 0 {
		some = 1
	}
	result := begin()
	defer end()
	websocketsClose(socket, some, uint32(code), reason, result.at)
	return webSocketErrors.in(result, 8)
}

func (host) AutoResponse() (pair contract.AutoResponse, ok bool) {
	result := begin()
	defer end()
	websocketsAutoResponse(result.at)
	if !result.bool(0) {
		return contract.AutoResponse{}, false
	}
	return contract.AutoResponse{Request: result.text(4), Response: result.text(12)}, true
}

func (host) SetAutoResponse(pair *contract.AutoResponse) error {
	result := begin()
	defer end()
	if pair == nil {
		websocketsSetAutoResponse(0, "", "", result.at)
	} else {
		websocketsSetAutoResponse(1, pair.Request, pair.Response, result.at)
	}
	return webSocketErrors.in(result, 8)
}

func (host) AutoResponseTime(socket uint64) (millis uint64, ok bool, err error) {
	result := begin()
	defer end()
	websocketsAutoResponseTime(socket, result.at)
	if err := webSocketErrors.in(result, 8); err != nil {
		return 0, false, err
	}
	return result.u64(16), result.bool(8), nil
}

// given reports whether there is a tag.
func given(tag string) int32 {
	if tag == "" {
		return 0
	}
	return 1
}

// messageParts is the variant `message`: 0 is text, 1 is bytes.
func messageParts(message contract.Message) (kind int32, data string) {
	if message.Bytes == nil {
		return 0, message.Text
	}
	return 1, shared(message.Bytes)
}
