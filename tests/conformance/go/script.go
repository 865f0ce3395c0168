package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"time"

	"holdfast.dev/holdfast"
	"holdfast.dev/holdfast/alarm"
)

// turn is what a script's turn is about, apart from a request.
type turn struct {
	socket *holdfast.Socket
	alarm  *alarm.Event
}

// script is one that has begun.
type script struct {
	*Conformance
	turn    turn
	lines   []string
	answers strings.Builder
	waits
}

// untilEnd runs lines up to the `end` of a transaction, or all of them, or until the script waits.
func (s *script) untilEnd(inTransaction bool) error {
	for len(s.lines) > 0 {
		line := s.lines[0]
		s.lines = s.lines[1:]
		if line == "" {
			continue
		}
		if line == "end" && inTransaction {
			return nil
		}
		line, isUncaught := strings.CutPrefix(line, "uncaught ")
		answer, err := s.line(line)
		if err != nil && !isUncaught {
			answer, err = inCase(err)
		}
		if err != nil {
			return err
		}
		// What `wait-for` answers comes with what it waits for.
		if s.topic == nil {
			s.answer(answer)
		}
		if s.isWaiting() {
			return nil
		}
	}
	if inTransaction {
		return badScript("a transaction has no end")
	}
	return nil
}

// inCase returns the answer to a refusal of the host; other errors are returned.
func inCase(err error) (string, error) {
	var refusal *holdfast.RefusedError
	if !errors.As(err, &refusal) {
		return "", err
	}
	answer := "error " + string(refusal.Case)
	if refusal.Case == holdfast.ErrConstraint || refusal.Case == holdfast.ErrSQLite {
		answer += fmt.Sprintf(" %d %s", refusal.SQLiteCode, encode(refusal.Message))
	}
	return answer, nil
}

func (s *script) line(line string) (string, error) {
	words := strings.Split(line, " ")
	for i, word := range words {
		decoded, err := decode(word)
		if err != nil {
			return "", err
		}
		words[i] = decoded
	}
	command, found := commands[words[0]]
	args := words[1:]
	if !found || len(args) < command.min || command.max >= 0 && len(args) > command.max {
		return "", badScript("no command: %s", line)
	}
	return command.run(s, args)
}

// command is one command of scripts.
type command struct {
	// min and max are how many words follow it; max is -1 for any number.
	min, max int
	run      func(s *script, args []string) (string, error)
}

var commands map[string]command

func init() {
	commands = map[string]command{
		"id":    {0, 0, func(s *script, _ []string) (string, error) { return encode(s.ctx.ID()), nil }},
		"name":  {0, 0, (*script).name},
		"class": {0, 0, func(s *script, _ []string) (string, error) { return encode(s.ctx.Class()), nil }},
		"count": {0, 0, func(s *script, _ []string) (string, error) { s.count++; return strconv.Itoa(s.count), nil }},

		"get":         {1, 1, func(s *script, args []string) (string, error) { return some(s.ctx.Storage.Get(args[0])) }},
		"put":         {2, 2, func(s *script, args []string) (string, error) { return ok(s.ctx.Storage.Put(args[0], []byte(args[1]))) }},
		"delete":      {1, 1, func(s *script, args []string) (string, error) { return shown(s.ctx.Storage.Delete(args[0])) }},
		"get-many":    {0, -1, (*script).getMany},
		"put-many":    {0, -1, (*script).putMany},
		"delete-many": {0, -1, func(s *script, args []string) (string, error) { return shown(s.ctx.Storage.DeleteMany(args...)) }},
		"list":        {0, -1, (*script).list},

		"sql":         {1, -1, (*script).sql},
		"sql-changes": {1, -1, (*script).sqlChanges},
		"sql-sum":     {1, -1, (*script).sqlSum},

		"transaction": {1, 1, (*script).transaction},
		"size":        {0, 0, func(s *script, _ []string) (string, error) { return shown(s.ctx.Storage.Size()) }},
		"delete-all":  {0, 0, func(s *script, _ []string) (string, error) { return ok(s.ctx.Storage.DeleteAll()) }},
		"sync":        {0, 0, func(s *script, _ []string) (string, error) { return ok(s.ctx.Storage.Sync()) }},

		"alarm-get":    {0, 0, (*script).alarmGet},
		"alarm-set":    {1, 1, (*script).alarmSet},
		"alarm-delete": {0, 0, func(s *script, _ []string) (string, error) { return ok(s.ctx.Alarm.Delete()) }},

		"wait":           {1, 1, (*script).wait},
		"wait-for":       {1, 1, (*script).waitFor},
		"wait-exclusive": {1, 1, (*script).waitExclusive},
		"tell":           {2, 2, (*script).tell},
		"later":          {3, -1, (*script).later},
		"cancel":         {1, 1, (*script).cancel},
		"on-gone":        {1, 1, (*script).onGone},

		"sockets":       {0, 1, (*script).sockets},
		"tags":          {1, 1, (*script).tags},
		"attach":        {2, 2, (*script).attach},
		"attachment":    {1, 1, (*script).attachment},
		"send":          {2, 2, (*script).send},
		"broadcast":     {1, 2, (*script).broadcast},
		"close":         {3, 3, (*script).close},
		"auto-response": {0, 2, (*script).autoResponse},

		"fail":        {3, 3, (*script).fail},
		"fail-before": {1, 1, (*script).failBefore},
		"throw":       {1, 1, func(_ *script, args []string) (string, error) { return throw(args[0]), nil }},
		"log":         {2, -1, (*script).log},
		"print":       {1, 1, func(_ *script, args []string) (string, error) { _, err := fmt.Println(args[0]); return ok(err) }},
		"print-error": {1, 1, func(_ *script, args []string) (string, error) {
			_, err := fmt.Fprintln(os.Stderr, args[0])
			return ok(err)
		}},
		"now":    {0, 0, func(*script, []string) (string, error) { return shown(time.Now().UnixMilli(), nil) }},
		"random": {0, 0, func(*script, []string) (string, error) { return fmt.Sprint(rand.Uint64(), " ", rand.Uint64()), nil }},
	}
}

func ok(err error) (string, error) { return "ok", err }

func shown(value any, err error) (string, error) { return fmt.Sprint(value), err }

func some(value []byte, err error) (string, error) {
	if value == nil {
		return "none", err
	}
	return "some " + encode(value), err
}

func (s *script) name([]string) (string, error) {
	if s.ctx.Name() == "" {
		return "none", nil
	}
	return "some " + encode(s.ctx.Name()), nil
}

func (s *script) getMany(keys []string) (string, error) {
	entries, err := s.ctx.Storage.GetMany(keys...)
	words := make([]string, 0, 2*len(entries))
	for _, entry := range entries {
		words = append(words, encode(entry.Key), encode(entry.Value))
	}
	return strings.Join(words, " "), err
}

func (s *script) putMany(args []string) (string, error) {
	if len(args)%2 != 0 {
		return "", badScript("a key without a value")
	}
	var entries []holdfast.Entry
	for i := 0; i < len(args); i += 2 {
		entries = append(entries, holdfast.Entry{Key: args[i], Value: []byte(args[i+1])})
	}
	return ok(s.ctx.Storage.PutMany(entries...))
}

func (s *script) list(args []string) (string, error) {
	var options []holdfast.ListOption
	for _, arg := range args {
		name, value, _ := strings.Cut(arg, "=")
		switch name {
		case "start":
			options = append(options, holdfast.Start(value))
		case "start-after":
			options = append(options, holdfast.StartAfter(value))
		case "end":
			options = append(options, holdfast.End(value))
		case "prefix":
			options = append(options, holdfast.Prefix(value))
		case "reverse":
			options = append(options, holdfast.Reverse())
		case "limit":
			limit, err := strconv.Atoi(value)
			if err != nil {
				return "", badScript("limit: %v", err)
			}
			options = append(options, holdfast.Limit(limit))
		default:
			return "", badScript("no option: %s", arg)
		}
	}
	var words []string
	for entry, err := range s.ctx.Storage.List(options...) {
		if err != nil {
			return "", err
		}
		words = append(words, encode(entry.Key), encode(entry.Value))
	}
	return strings.Join(words, " "), nil
}

func (s *script) query(args []string) (*holdfast.Rows, error) {
	parameters := make([]any, len(args)-1)
	for i, word := range args[1:] {
		value, err := decodeValue(word)
		if err != nil {
			return nil, err
		}
		parameters[i] = value
	}
	return s.ctx.SQL.Query(args[0], parameters...)
}

func (s *script) sql(args []string) (string, error) {
	rows, err := s.query(args)
	if err != nil {
		return "", err
	}
	defer rows.Close()
	words := []string{strconv.Itoa(len(rows.Columns()))}
	for _, column := range rows.Columns() {
		words = append(words, encode(column))
	}
	for rows.Next() {
		for _, value := range rows.Values() {
			words = append(words, encodeValue(value))
		}
	}
	return strings.Join(words, " "), rows.Err()
}

func (s *script) sqlChanges(args []string) (string, error) {
	rows, err := s.query(args)
	if err != nil {
		return "", err
	}
	rows.Close()
	return fmt.Sprint(rows.Result().Changes, " ", rows.Result().LastInsertID), nil
}

func (s *script) sqlSum(args []string) (string, error) {
	rows, err := s.query(args)
	if err != nil {
		return "", err
	}
	defer rows.Close()
	var count, sum int64
	for rows.Next() {
		value, isInteger := rows.Values()[0].(int64)
		if !isInteger {
			return "", badScript("the first column is no integer")
		}
		count, sum = count+1, sum+value
	}
	return fmt.Sprint(count, " ", sum), rows.Err()
}

var errUndo = errors.New("to be undone")

func (s *script) transaction(args []string) (string, error) {
	undo := args[0] == "undo"
	err := s.ctx.Storage.Transaction(func() error {
		if err := s.untilEnd(true); err != nil {
			return err
		}
		if undo {
			return errUndo
		}
		return nil
	})
	if undo && err == errUndo {
		return "undone", nil
	}
	return "kept", err
}

func (s *script) alarmGet([]string) (string, error) {
	at, err := s.ctx.Alarm.Get()
	if at.IsZero() {
		return "none", err
	}
	return fmt.Sprintf("some %d", at.UnixMilli()), err
}

func (s *script) alarmSet(args []string) (string, error) {
	millis, err := strconv.ParseInt(args[0], 10, 64)
	if err != nil {
		return "", badScript("alarm-set: %v", err)
	}
	return ok(s.ctx.Alarm.Set(time.UnixMilli(millis)))
}

// socket is the one that a word names.
func (s *script) socket(word string) (holdfast.Socket, error) {
	if word == "@" {
		if s.turn.socket == nil {
			return holdfast.Socket{}, badScript("the turn is about no socket")
		}
		return *s.turn.socket, nil
	}
	if tagged := s.ctx.Sockets.Tagged(word); len(tagged) > 0 {
		return tagged[0], nil
	}
	return holdfast.Socket{}, &holdfast.RefusedError{Case: holdfast.ErrUnknownSocket}
}

func (s *script) sockets(args []string) (string, error) {
	if len(args) == 1 {
		return shown(len(s.ctx.Sockets.Tagged(args[0])), nil)
	}
	return shown(len(s.ctx.Sockets.All()), nil)
}

func (s *script) tags(args []string) (string, error) {
	socket, err := s.socket(args[0])
	if err != nil {
		return "", err
	}
	tags, err := socket.Tags()
	for i, tag := range tags {
		tags[i] = encode(tag)
	}
	return strings.Join(tags, " "), err
}

func (s *script) attach(args []string) (string, error) {
	socket, err := s.socket(args[0])
	if err != nil {
		return "", err
	}
	return ok(socket.SetAttachment([]byte(args[1])))
}

func (s *script) attachment(args []string) (string, error) {
	socket, err := s.socket(args[0])
	if err != nil {
		return "", err
	}
	return some(socket.Attachment())
}

func (s *script) send(args []string) (string, error) {
	socket, err := s.socket(args[0])
	if err != nil {
		return "", err
	}
	message, err := decodeMessage(args[1])
	if err != nil {
		return "", err
	}
	return ok(socket.Send(message))
}

func (s *script) broadcast(args []string) (string, error) {
	message, err := decodeMessage(args[0])
	if err != nil {
		return "", err
	}
	if len(args) == 2 {
		return shown(s.ctx.Sockets.BroadcastTo(args[1], message))
	}
	return shown(s.ctx.Sockets.Broadcast(message))
}

func (s *script) close(args []string) (string, error) {
	socket, err := s.socket(args[0])
	if err != nil {
		return "", err
	}
	code, err := strconv.Atoi(args[1])
	if err != nil {
		return "", badScript("close: %v", err)
	}
	return ok(socket.Close(code, args[2]))
}

func (s *script) autoResponse(args []string) (string, error) {
	switch len(args) {
	case 0:
		return ok(s.ctx.Sockets.DeleteAutoResponse())
	case 2:
		return ok(s.ctx.Sockets.SetAutoResponse(args[0], args[1]))
	default:
		return "", badScript("auto-response takes two words or none")
	}
}

func (s *script) fail(args []string) (string, error) {
	return "", &holdfast.Error{Code: args[0], Message: args[1], Retryable: args[2] == "true"}
}

func (s *script) failBefore(args []string) (string, error) {
	number, err := strconv.Atoi(args[0])
	if err != nil {
		return "", badScript("fail-before: %v", err)
	}
	if s.turn.alarm != nil && s.turn.alarm.RetryCount < number {
		return "", holdfast.Errorf("too-early", "not yet")
	}
	return "ok", nil
}

// throw panics two functions deep.
func throw(message string) string { return thrown(message) }

func thrown(message string) string { panic(message) }

var levels = map[string]slog.Level{
	"trace": holdfast.LevelTrace, "debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError,
}

func (s *script) log(args []string) (string, error) {
	level, found := levels[args[0]]
	if !found || len(args)%2 != 0 {
		return "", badScript("log takes a level, a message, and names with values")
	}
	var fields []slog.Attr
	for i := 2; i < len(args); i += 2 {
		fields = append(fields, slog.String(args[i], args[i+1]))
	}
	slog.LogAttrs(context.Background(), level, args[1], fields...)
	return "ok", nil
}
