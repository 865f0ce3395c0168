package holdfasttest

import (
	"bytes"
	"slices"

	"holdfast.dev/holdfast"
	"holdfast.dev/holdfast/internal/contract"
)

func (f fake) Accept(tags []string) (uint64, error) {
	if !f.Upgrade {
		return 0, refuse(contract.WebSockets, "not-an-upgrade", 0, 0)
	}
	f.Upgrade = false
	tags = slices.Clone(tags)
	slices.Sort(tags)
	id := uint64(len(f.Host.Sockets) + 1)
	f.Host.Sockets[id] = &Socket{Tags: slices.Compact(tags)}
	return id, nil
}

func (f fake) Sockets(tag string) []uint64 {
	var ids []uint64
	for id, socket := range f.Host.Sockets {
		if !socket.Closed && (tag == "" || slices.Contains(socket.Tags, tag)) {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

func (f fake) Broadcast(tag string, message contract.Message) (int, error) {
	ids := f.Sockets(tag)
	for _, id := range ids {
		if err := f.Send(id, message); err != nil {
			return 0, err
		}
	}
	return len(ids), nil
}

// socket is one that there is, open or closed.
func (f fake) socket(id uint64) (*Socket, error) {
	if socket, found := f.Host.Sockets[id]; found {
		return socket, nil
	}
	return nil, refuse(contract.WebSockets, "unknown-socket", 0, 0)
}

// open is one that is not closing.
func (f fake) open(id uint64) (*Socket, error) {
	socket, err := f.socket(id)
	if err == nil && socket.Closed {
		return nil, refuse(contract.WebSockets, "closing", 0, 0)
	}
	return socket, err
}

func (f fake) Tags(id uint64) ([]string, error) {
	socket, err := f.socket(id)
	if err != nil {
		return nil, err
	}
	return slices.Clone(socket.Tags), nil
}

func (f fake) Attachment(id uint64) ([]byte, bool, error) {
	socket, err := f.socket(id)
	if err != nil {
		return nil, false, err
	}
	return bytes.Clone(socket.Attachment), socket.Attachment != nil, nil
}

func (f fake) SetAttachment(id uint64, attachment []byte) error {
	socket, err := f.socket(id)
	if err != nil {
		return err
	}
	if len(attachment) > 16_384 {
		return refuse(contract.WebSockets, "too-large", int64(len(attachment)), 16_384)
	}
	socket.Attachment = bytes.Clone(attachment)
	return nil
}

func (f fake) Send(id uint64, message contract.Message) error {
	socket, err := f.open(id)
	if err != nil {
		return err
	}
	var received holdfast.Message = holdfast.Text(message.Text)
	if message.Bytes != nil {
		received = holdfast.Binary(bytes.Clone(message.Bytes))
	}
	socket.Received = append(socket.Received, received)
	return nil
}

func (f fake) Buffered(id uint64) (uint64, error) {
	_, err := f.socket(id)
	return 0, err
}

func (f fake) CloseSocket(id uint64, code uint16, reason string) error {
	socket, err := f.open(id)
	if err != nil {
		return err
	}
	socket.Closed, socket.CloseCode, socket.Reason = true, int(code), reason
	return nil
}

func (f fake) AutoResponse() (contract.AutoResponse, bool) {
	if f.autoResponse == nil {
		return contract.AutoResponse{}, false
	}
	return *f.autoResponse, true
}

func (f fake) SetAutoResponse(pair *contract.AutoResponse) error {
	f.autoResponse = pair
	return nil
}

func (f fake) AutoResponseTime(id uint64) (uint64, bool, error) {
	_, err := f.socket(id)
	return 0, false, err
}
