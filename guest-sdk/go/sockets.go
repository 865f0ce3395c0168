package holdfast

import (
	"time"

	"holdfast.dev/holdfast/internal/contract"
)

// Sockets are the object's WebSockets. The host owns them: they stay open while the object is not in memory, and when its class is
// deployed anew. They do not survive the host's process: after a restart an object has none, and no close event comes. What listens to
// them is in package websocket.
//
// What a turn does with sockets is part of the turn: it counts once the turn succeeds and is gone when it fails. Messages leave when
// everything the turn wrote is durable, in the order sent. An undone [Storage.Transaction] does not undo it.
type Sockets struct{ host contract.Host }

// Socket is one of them. Sockets can be compared and be keys of maps.
type Socket struct {
	host contract.Host
	id   uint64
}

// A Message is [Text] or [Binary].
type Message interface{ message() contract.Message }

// Text is a message of UTF-8 text.
type Text string

// Binary is a message of bytes.
type Binary []byte

func (t Text) message() contract.Message { return contract.Message{Text: string(t)} }

func (b Binary) message() contract.Message {
	if b == nil {
		b = Binary{}
	}
	return contract.Message{Bytes: b}
}

// Accept accepts the socket that the request of this turn asks for. It is the object's once the turn is answered with status 101, that is
// after w.WriteHeader([http.StatusSwitchingProtocols]); a header Sec-WebSocket-Protocol chooses one of the protocols that the client
// offers. Any other status refuses it. The turn can send to it already.
//
// Up to 10 different tags of 1 to 256 bytes select it later.
//
// [http.StatusSwitchingProtocols]: https://pkg.go.dev/net/http#StatusSwitchingProtocols
func (s *Sockets) Accept(tags ...string) (Socket, error) {
	id, err := s.host.Accept(tags)
	return s.ByID(id), refused(err)
}

// All returns the open sockets: oldest first, without those that are closing.
func (s *Sockets) All() []Socket { return s.sockets("") }

// Tagged returns the open sockets with this tag.
func (s *Sockets) Tagged(tag string) []Socket {
	if tag == "" {
		return nil
	}
	return s.sockets(tag)
}

func (s *Sockets) sockets(tag string) []Socket {
	ids := s.host.Sockets(tag)
	sockets := make([]Socket, len(ids))
	for i, id := range ids {
		sockets[i] = s.ByID(id)
	}
	return sockets
}

// ByID returns the socket with this id, whether or not there is one.
func (s *Sockets) ByID(id uint64) Socket { return Socket{s.host, id} }

// Broadcast sends one message to all open sockets and returns how many there are: as [Socket.Send] to each, without a copy for each.
func (s *Sockets) Broadcast(message Message) (int, error) {
	receivers, err := s.host.Broadcast("", message.message())
	return receivers, refused(err)
}

// BroadcastTo sends one message to all open sockets with this tag and returns how many there are.
func (s *Sockets) BroadcastTo(tag string, message Message) (int, error) {
	if tag == "" {
		return 0, nil
	}
	receivers, err := s.host.Broadcast(tag, message.message())
	return receivers, refused(err)
}

// AutoResponse returns what the host answers for the object, and whether anything is set.
func (s *Sockets) AutoResponse() (request, response string, set bool) {
	pair, set := s.host.AutoResponse()
	return pair.Request, pair.Response, set
}

// SetAutoResponse has the host answer one message for the object, on all of its sockets and without waking it: a text that is exactly
// the request is answered with the response. At most 2,048 bytes each. It replaces what was set.
func (s *Sockets) SetAutoResponse(request, response string) error {
	return refused(s.host.SetAutoResponse(&contract.AutoResponse{Request: request, Response: response}))
}

// DeleteAutoResponse ends that.
func (s *Sockets) DeleteAutoResponse() error { return refused(s.host.SetAutoResponse(nil)) }

// ID is a number that no other socket of the object has or will have. Ids rise in the order of acceptance.
func (s Socket) ID() uint64 { return s.id }

// Send sends a message of at most 32 MiB. A peer that is too slow has more and more of it wait in the host, up to a limit (8 MiB by
// default) at which the host closes the socket with code 1013.
func (s Socket) Send(message Message) error { return refused(s.host.Send(s.id, message.message())) }

// Close closes the socket after what was sent to it, with a code (1000, 1001, 1003, 1007 to 1014 or 3000 to 4999; 0 for none) and a reason of at
// most 123 bytes (none without a code). The close event comes when the peer has answered.
func (s Socket) Close(code int, reason string) error {
	if code < 0 || code > 0xffff {
		return refused(&contract.Refusal{Interface: contract.WebSockets, Case: string(ErrBadCode), A: int64(code)})
	}
	return refused(s.host.CloseSocket(s.id, uint16(code), reason))
}

// Tags returns those that the socket was accepted with, sorted.
func (s Socket) Tags() ([]string, error) {
	tags, err := s.host.Tags(s.id)
	return tags, refused(err)
}

// Attachment returns what the object attached to the socket; nil if it has attached nothing.
func (s Socket) Attachment() ([]byte, error) {
	attachment, _, err := s.host.Attachment(s.id)
	return attachment, refused(err)
}

// SetAttachment attaches up to 16,384 bytes to the socket, in place of what was attached: what the object wants to know of this peer
// in every turn, whether or not it was in memory meanwhile. Nil removes it.
func (s Socket) SetAttachment(attachment []byte) error {
	return refused(s.host.SetAttachment(s.id, attachment))
}

// Buffered returns how many bytes of messages have left their turns and wait for the peer to take them.
func (s Socket) Buffered() (int64, error) {
	waiting, err := s.host.Buffered(s.id)
	return int64(waiting), refused(err)
}

// AutoResponseTime returns when the host last answered for the object on this socket; the zero time if it never has.
func (s Socket) AutoResponseTime() (time.Time, error) {
	millis, ever, err := s.host.AutoResponseTime(s.id)
	if err != nil || !ever {
		return time.Time{}, refused(err)
	}
	return time.UnixMilli(int64(millis)), nil
}
