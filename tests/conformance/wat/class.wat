;; The class of the conformance suite, its core part, in WebAssembly's text format: docs/CONFORMANCE.md specifies it.
;;
;; Names and signatures are those of the contract (wit/) as the canonical ABI lowers them: a text or a list is an address and a
;; length, and a result that does not fit into one value is written to an address that the caller gives.
;;
;; A turn that fails continues to its end without harm: $fail notes the failure, nothing of the turn stays, and its instance is dropped.
(module
  ;; ---- What the host offers ----

  (import "holdfast:object/identity@0.2.0" "id" (func $host-id (param $result i32)))
  (import "holdfast:object/identity@0.2.0" "name" (func $host-name (param $result i32)))
  (import "holdfast:object/identity@0.2.0" "class" (func $host-class (param $result i32)))
  (import "holdfast:object/key-value@0.2.0" "get" (func $host-get (param $key i32) (param $key-size i32) (param $result i32)))
  (import "holdfast:object/key-value@0.2.0" "put"
    (func $host-put (param $key i32) (param $key-size i32) (param $value i32) (param $value-size i32) (param $result i32)))
  (import "holdfast:object/key-value@0.2.0" "delete" (func $host-delete (param $key i32) (param $key-size i32) (param $result i32)))
  (import "holdfast:object/key-value@0.2.0" "get-many" (func $host-get-many (param $keys i32) (param $count i32) (param $result i32)))
  (import "holdfast:object/key-value@0.2.0" "put-many" (func $host-put-many (param $entries i32) (param $count i32) (param $result i32)))
  (import "holdfast:object/key-value@0.2.0" "delete-many" (func $host-delete-many (param $keys i32) (param $count i32) (param $result i32)))
  (import "holdfast:object/key-value@0.2.0" "list"
    (func $host-list
      (param $has-start i32) (param $start i32) (param $start-size i32)
      (param $has-start-after i32) (param $start-after i32) (param $start-after-size i32)
      (param $has-end i32) (param $end i32) (param $end-size i32)
      (param $has-prefix i32) (param $prefix i32) (param $prefix-size i32)
      (param $reverse i32) (param $has-limit i32) (param $limit i32) (param $result i32)))
  (import "holdfast:object/key-value@0.2.0" "[method]entries.next"
    (func $host-next (param $entries i32) (param $most i32) (param $result i32)))
  (import "holdfast:object/key-value@0.2.0" "[resource-drop]entries" (func $host-drop-entries (param $entries i32)))

  ;; ---- Memory ----

  (memory (export "memory") 1)

  ;; Where the host writes its results. A `result` begins with a byte that is 1 if it is an error; 4 bytes on is what it holds: the
  ;; value, or the number of the error's case.
  (global $result i32 (i32.const 0))
  ;; The result of a handler: result<response, failure>, 24 bytes.
  (global $answer i32 (i32.const 32))
  ;; The options of `list` as the host takes them: four of option<string>, 12 bytes each; then reverse, and the limit.
  (global $options i32 (i32.const 64))
  (global $reverse i32 (i32.const 112))
  (global $limit i32 (i32.const 116))
  ;; The headers of the response: 4 at most, 16 bytes each.
  (global $headers i32 (i32.const 128))
  ;; Behind the last digit of a number.
  (global $digits-end i32 (i32.const 216))

  ;; Constants: a byte with the length, then the text.
  (global $/echo i32 (i32.const 256)) (data (i32.const 256) "\05/echo")
  (global $/run i32 (i32.const 264)) (data (i32.const 264) "\04/run")
  (global $/status/ i32 (i32.const 272)) (data (i32.const 272) "\08/status/")
  (global $x-case i32 (i32.const 288)) (data (i32.const 288) "\06x-case")
  (global $x-uri i32 (i32.const 296)) (data (i32.const 296) "\05x-uri")
  (global $x-method i32 (i32.const 304)) (data (i32.const 304) "\08x-method")
  (global $set-cookie i32 (i32.const 320)) (data (i32.const 320) "\0aset-cookie")
  (global $a=1 i32 (i32.const 336)) (data (i32.const 336) "\03a=1")
  (global $b=2 i32 (i32.const 344)) (data (i32.const 344) "\03b=2")
  (global $content-type i32 (i32.const 352)) (data (i32.const 352) "\0ccontent-type")
  (global $text/plain i32 (i32.const 368)) (data (i32.const 368) "\0atext/plain")
  (global $octet-stream i32 (i32.const 384)) (data (i32.const 384) "\18application/octet-stream")
  (global $comma i32 (i32.const 416)) (data (i32.const 416) "\02, ")
  (global $ok i32 (i32.const 420)) (data (i32.const 420) "\02ok")
  (global $some i32 (i32.const 424)) (data (i32.const 424) "\05some ")
  (global $none i32 (i32.const 432)) (data (i32.const 432) "\04none")
  (global $true i32 (i32.const 440)) (data (i32.const 440) "\04true")
  (global $false i32 (i32.const 448)) (data (i32.const 448) "\05false")
  (global $error i32 (i32.const 456)) (data (i32.const 456) "\06error ")
  (global $init i32 (i32.const 464)) (data (i32.const 464) "\04init")
  (global $inits i32 (i32.const 472)) (data (i32.const 472) "\05inits")
  (global $init-fails i32 (i32.const 480)) (data (i32.const 480) "\0ainit-fails")
  (global $bad-name i32 (i32.const 496)) (data (i32.const 496) "\08bad-name")
  (global $not-to-be-made i32 (i32.const 512)) (data (i32.const 512) "\0enot to be made")
  (global $bad-script i32 (i32.const 528)) (data (i32.const 528) "\0abad-script")
  (global $storage-error i32 (i32.const 544)) (data (i32.const 544) "\0dstorage-error")

  ;; Tables of names: constants one behind the other, up to one of length 0.
  ;; The cases of key-value's error, in the order of the contract.
  (global $errors i32 (i32.const 576))
  (data (i32.const 576) "\08key-size" "\0avalue-size" "\08too-many" "\09bad-range" "\04full" "\06closed" "\05other" "\00")
  ;; The options of a listing, in the order of the contract.
  (global $option-names i32 (i32.const 640))
  (data (i32.const 640) "\05start" "\0bstart-after" "\03end" "\06prefix" "\07reverse" "\05limit" "\00")
  ;; The commands, in the order of the functions in the table.
  (global $command-names i32 (i32.const 704))
  (data (i32.const 704)
    "\02id" "\04name" "\05class" "\05count" "\03get" "\03put" "\06delete" "\08get-many" "\08put-many" "\0bdelete-many" "\04list"
    "\04fail" "\00")
  (table funcref (elem
    $id $name $class $count $get $put $delete $get-many $put-many $delete-many $list $fail-as-told))

  ;; What a turn allocates begins here and is freed when its answer has been read.
  (global $heap i32 (i32.const 1024))
  (global $free (mut i32) (i32.const 1024))

  ;; Allocates this many bytes, at a multiple of 8.
  (func $allocate (param $size i32) (result i32)
    (local $at i32) (local $missing i32)
    (local.set $at (i32.and (i32.add (global.get $free) (i32.const 7)) (i32.const -8)))
    (global.set $free (i32.add (local.get $at) (local.get $size)))
    ;; In pages of 64 KiB.
    (local.set $missing
      (i32.sub (i32.shr_u (i32.add (global.get $free) (i32.const 0xffff)) (i32.const 16)) (memory.size)))
    (if (i32.gt_s (local.get $missing) (i32.const 0))
      (then (if (i32.eq (memory.grow (local.get $missing)) (i32.const -1)) (then (unreachable)))))
    (local.get $at))

  ;; The host asks for memory for what it passes in.
  (func (export "cabi_realloc") (param $old i32) (param $old-size i32) (param $align i32) (param $size i32) (result i32)
    (local $at i32)
    (local.set $at (call $allocate (local.get $size)))
    (memory.copy (local.get $at) (local.get $old) (local.get $old-size))
    (local.get $at))

  ;; The host has read the answer: what the turn allocated can be used again.
  (func $end-turn (param $answer i32)
    (global.set $free (global.get $heap))
    (global.set $failed (i32.const 0))
    (global.set $out-size (i32.const 0))
    (global.set $out-room (i32.const 0))
    (global.set $header-count (i32.const 0)))
  (export "cabi_post_holdfast:object/init-handler@0.2.0#init" (func $end-turn))
  (export "cabi_post_holdfast:object/fetch-handler@0.2.0#fetch" (func $end-turn))

  ;; ---- The object's memory ----

  (global $counter (mut i64) (i64.const 0))

  ;; ---- Failing ----

  (global $failed (mut i32) (i32.const 0))

  ;; The answer becomes err(failure), unless it is one already.
  (func $fail
    (param $code i32) (param $code-size i32) (param $message i32) (param $message-size i32) (param $retryable i32)
    (if (global.get $failed) (then (return)))
    (global.set $failed (i32.const 1))
    (i32.store8 (global.get $answer) (i32.const 1))
    (i32.store offset=4 (global.get $answer) (local.get $code))
    (i32.store offset=8 (global.get $answer) (local.get $code-size))
    (i32.store offset=12 (global.get $answer) (local.get $message))
    (i32.store offset=16 (global.get $answer) (local.get $message-size))
    (i32.store8 offset=20 (global.get $answer) (local.get $retryable)))

  ;; With a code and a message that are constants; not retryable.
  (func $fail-with (param $code i32) (param $message i32)
    (call $fail (call $text (local.get $code)) (call $text (local.get $message)) (i32.const 0)))

  ;; The message is the line that is being run.
  (func $bad-line
    (call $fail
      (call $text (global.get $bad-script))
      (global.get $line) (i32.sub (global.get $line-end) (global.get $line)) (i32.const 0)))

  ;; ---- Texts ----

  ;; Address and length of a constant.
  (func $text (param $constant i32) (result i32 i32)
    (i32.add (local.get $constant) (i32.const 1))
    (i32.load8_u (local.get $constant)))

  (func $starts-with (param $text i32) (param $size i32) (param $constant i32) (result i32)
    (local $left i32)
    (local.set $left (i32.load8_u (local.get $constant)))
    (if (i32.lt_u (local.get $size) (local.get $left)) (then (return (i32.const 0))))
    (loop $next
      (if (i32.eqz (local.get $left)) (then (return (i32.const 1))))
      (local.set $left (i32.sub (local.get $left) (i32.const 1)))
      (br_if $next (i32.eq
        (i32.load8_u (i32.add (local.get $text) (local.get $left)))
        (i32.load8_u offset=1 (i32.add (local.get $constant) (local.get $left))))))
    (i32.const 0))

  (func $is (param $text i32) (param $size i32) (param $constant i32) (result i32)
    (i32.and
      (i32.eq (local.get $size) (i32.load8_u (local.get $constant)))
      (call $starts-with (local.get $text) (local.get $size) (local.get $constant))))

  ;; The number of a text in a table of names, or -1.
  (func $index-in (param $names i32) (param $text i32) (param $size i32) (result i32)
    (local $index i32)
    (loop $next
      (if (i32.eqz (i32.load8_u (local.get $names))) (then (return (i32.const -1))))
      (if (call $is (local.get $text) (local.get $size) (local.get $names)) (then (return (local.get $index))))
      (local.set $names (call $next-name (local.get $names)))
      (local.set $index (i32.add (local.get $index) (i32.const 1)))
      (br $next))
    (unreachable))

  ;; The constant of this number in a table of names.
  (func $name-in (param $names i32) (param $index i32) (result i32)
    (loop $next
      (if (i32.eqz (local.get $index)) (then (return (local.get $names))))
      (local.set $names (call $next-name (local.get $names)))
      (local.set $index (i32.sub (local.get $index) (i32.const 1)))
      (br $next))
    (unreachable))

  (func $next-name (param $name i32) (result i32)
    (i32.add (local.get $name) (i32.add (i32.const 1) (i32.load8_u (local.get $name)))))

  ;; Where this byte is first; the end if it is not there.
  (func $find (param $at i32) (param $end i32) (param $byte i32) (result i32)
    (block $found
      (loop $next
        (br_if $found (i32.ge_u (local.get $at) (local.get $end)))
        (br_if $found (i32.eq (i32.load8_u (local.get $at)) (local.get $byte)))
        (local.set $at (i32.add (local.get $at) (i32.const 1)))
        (br $next)))
    (local.get $at))

  ;; A decimal number; anything else is a bad line.
  (func $number (param $text i32) (param $size i32) (result i64)
    (local $end i32) (local $digit i32) (local $number i64)
    (local.set $end (i32.add (local.get $text) (local.get $size)))
    (if (i32.eqz (local.get $size)) (then (call $bad-line)))
    (loop $next
      (if (i32.lt_u (local.get $text) (local.get $end))
        (then
          (local.set $digit (i32.sub (i32.load8_u (local.get $text)) (i32.const 0x30)))
          (if (i32.ge_u (local.get $digit) (i32.const 10)) (then (call $bad-line)))
          (local.set $number
            (i64.add (i64.mul (local.get $number) (i64.const 10)) (i64.extend_i32_u (local.get $digit))))
          (local.set $text (i32.add (local.get $text) (i32.const 1)))
          (br $next))))
    (local.get $number))

  ;; What a percent-encoded text stands for, as a copy.
  (func $decode (param $text i32) (param $size i32) (result i32 i32)
    (local $end i32) (local $decoded i32) (local $to i32) (local $byte i32)
    (local.set $end (i32.add (local.get $text) (local.get $size)))
    (local.set $decoded (call $allocate (local.get $size)))
    (local.set $to (local.get $decoded))
    (block $done
      (loop $next
        (br_if $done (i32.ge_u (local.get $text) (local.get $end)))
        (local.set $byte (i32.load8_u (local.get $text)))
        (if (i32.eq (local.get $byte) (i32.const 0x25)) ;; %
          (then
            (if (i32.ge_u (i32.add (local.get $text) (i32.const 2)) (local.get $end))
              (then (call $bad-line) (br $done)))
            (local.set $byte
              (i32.or
                (i32.shl (call $hex-digit (i32.load8_u offset=1 (local.get $text))) (i32.const 4))
                (call $hex-digit (i32.load8_u offset=2 (local.get $text)))))
            (if (i32.gt_u (local.get $byte) (i32.const 0xff)) (then (call $bad-line)))
            (local.set $text (i32.add (local.get $text) (i32.const 2)))))
        (i32.store8 (local.get $to) (local.get $byte))
        (local.set $to (i32.add (local.get $to) (i32.const 1)))
        (local.set $text (i32.add (local.get $text) (i32.const 1)))
        (br $next)))
    (local.get $decoded)
    (i32.sub (local.get $to) (local.get $decoded)))

  ;; 0 to 15; 256 for a byte that is no digit.
  (func $hex-digit (param $byte i32) (result i32)
    (local $letter i32)
    (if (i32.lt_u (i32.sub (local.get $byte) (i32.const 0x30)) (i32.const 10))
      (then (return (i32.sub (local.get $byte) (i32.const 0x30)))))
    ;; a to f, also as capitals.
    (local.set $letter (i32.sub (i32.or (local.get $byte) (i32.const 0x20)) (i32.const 0x61)))
    (select
      (i32.add (local.get $letter) (i32.const 10))
      (i32.const 256)
      (i32.lt_u (local.get $letter) (i32.const 6))))

  ;; ---- The output: a text that grows ----

  (global $out (mut i32) (i32.const 0))
  (global $out-size (mut i32) (i32.const 0))
  (global $out-room (mut i32) (i32.const 0))

  ;; Makes room for this many more bytes.
  (func $reserve (param $size i32)
    (local $larger i32)
    (if (i32.le_u (i32.add (global.get $out-size) (local.get $size)) (global.get $out-room)) (then (return)))
    (global.set $out-room
      (i32.add (i32.add (local.get $size) (i32.const 256)) (i32.shl (global.get $out-size) (i32.const 1))))
    (local.set $larger (call $allocate (global.get $out-room)))
    (memory.copy (local.get $larger) (global.get $out) (global.get $out-size))
    (global.set $out (local.get $larger)))

  ;; Adds a byte, for which there is room.
  (func $add-byte (param $byte i32)
    (i32.store8 (i32.add (global.get $out) (global.get $out-size)) (local.get $byte))
    (global.set $out-size (i32.add (global.get $out-size) (i32.const 1))))

  (func $say (param $text i32) (param $size i32)
    (call $reserve (local.get $size))
    (memory.copy (i32.add (global.get $out) (global.get $out-size)) (local.get $text) (local.get $size))
    (global.set $out-size (i32.add (global.get $out-size) (local.get $size))))

  (func $say-constant (param $constant i32) (call $say (call $text (local.get $constant))))

  (func $say-space (call $reserve (i32.const 1)) (call $add-byte (i32.const 0x20)))

  (func $say-encoded (param $text i32) (param $size i32)
    (local $end i32) (local $byte i32)
    (local.set $end (i32.add (local.get $text) (local.get $size)))
    (call $reserve (i32.mul (local.get $size) (i32.const 3)))
    (loop $next
      (if (i32.lt_u (local.get $text) (local.get $end))
        (then
          (local.set $byte (i32.load8_u (local.get $text)))
          (if (call $is-plain (local.get $byte))
            (then (call $add-byte (local.get $byte)))
            (else
              (call $add-byte (i32.const 0x25)) ;; %
              (call $add-hex-digit (i32.shr_u (local.get $byte) (i32.const 4)))
              (call $add-hex-digit (i32.and (local.get $byte) (i32.const 15)))))
          (local.set $text (i32.add (local.get $text) (i32.const 1)))
          (br $next)))))

  ;; A-Z a-z 0-9 - . _ ~
  (func $is-plain (param $byte i32) (result i32)
    (i32.or
      (i32.or
        (i32.lt_u (i32.sub (i32.or (local.get $byte) (i32.const 0x20)) (i32.const 0x61)) (i32.const 26))
        (i32.lt_u (i32.sub (local.get $byte) (i32.const 0x30)) (i32.const 10)))
      (i32.or
        (i32.or (i32.eq (local.get $byte) (i32.const 0x2d)) (i32.eq (local.get $byte) (i32.const 0x2e)))
        (i32.or (i32.eq (local.get $byte) (i32.const 0x5f)) (i32.eq (local.get $byte) (i32.const 0x7e))))))

  (func $add-hex-digit (param $digit i32)
    (call $add-byte (i32.add
      (local.get $digit)
      (select (i32.const 0x30) (i32.const 0x37) (i32.lt_u (local.get $digit) (i32.const 10))))))

  (func $say-number (param $number i64)
    (local $digit i32)
    (local.set $digit (global.get $digits-end))
    (loop $next
      (local.set $digit (i32.sub (local.get $digit) (i32.const 1)))
      (i64.store8 (local.get $digit) (i64.add (i64.const 0x30) (i64.rem_u (local.get $number) (i64.const 10))))
      (local.set $number (i64.div_u (local.get $number) (i64.const 10)))
      (br_if $next (i64.ne (local.get $number) (i64.const 0))))
    (call $say (local.get $digit) (i32.sub (global.get $digits-end) (local.get $digit))))

  ;; `none`, or `some <text>`, of an option: a byte that is 1 if there is something, then address and length.
  (func $say-option (param $option i32)
    (if (i32.load8_u (local.get $option))
      (then
        (call $say-constant (global.get $some))
        (call $say-encoded (i32.load offset=4 (local.get $option)) (i32.load offset=8 (local.get $option))))
      (else (call $say-constant (global.get $none)))))

  ;; `<key> <value> <key> <value>…`; $continues is 1 if some were written before.
  (func $say-entries (param $entry i32) (param $count i32) (param $continues i32)
    (loop $next
      (if (local.get $count)
        (then
          (if (local.get $continues) (then (call $say-space)))
          (call $say-encoded (i32.load (local.get $entry)) (i32.load offset=4 (local.get $entry)))
          (call $say-space)
          (call $say-encoded (i32.load offset=8 (local.get $entry)) (i32.load offset=12 (local.get $entry)))
          (local.set $continues (i32.const 1))
          (local.set $entry (i32.add (local.get $entry) (i32.const 16)))
          (local.set $count (i32.sub (local.get $count) (i32.const 1)))
          (br $next)))))

  ;; Whether the host has refused an operation of key-value; if so, writes `error <case>`.
  (func $is-refused (result i32)
    (if (i32.eqz (i32.load8_u (global.get $result))) (then (return (i32.const 0))))
    (call $say-constant (global.get $error))
    (call $say-constant (call $error-name))
    (i32.const 1))

  (func $error-name (result i32)
    (call $name-in (global.get $errors) (i32.load8_u offset=4 (global.get $result))))

  ;; ---- Scripts ----

  ;; The line that is being run, and where its next word begins: behind the end if there is none.
  (global $line (mut i32) (i32.const 0))
  (global $line-end (mut i32) (i32.const 0))
  (global $at (mut i32) (i32.const 0))

  ;; Runs a script and writes its answers.
  (func $run (param $script i32) (param $size i32)
    (local $end i32)
    (local.set $end (i32.add (local.get $script) (local.get $size)))
    (loop $next
      (if (i32.and (i32.lt_u (local.get $script) (local.get $end)) (i32.eqz (global.get $failed)))
        (then
          (global.set $line (local.get $script))
          (global.set $line-end (call $find (local.get $script) (local.get $end) (i32.const 0x0a)))
          (local.set $script (i32.add (global.get $line-end) (i32.const 1)))
          (if (i32.ne (global.get $line) (global.get $line-end)) (then (call $run-line)))
          (br $next)))))

  (func $run-line
    (local $name i32) (local $size i32) (local $command i32)
    (global.set $at (global.get $line))
    (call $next-word) (local.set $size) (local.set $name)
    (local.set $command (call $index-in (global.get $command-names) (local.get $name) (local.get $size)))
    (if (i32.lt_s (local.get $command) (i32.const 0)) (then (call $bad-line) (return)))
    (call_indirect (local.get $command))
    (if (call $has-word) (then (call $bad-line)))
    (call $reserve (i32.const 1))
    (call $add-byte (i32.const 0x0a)))

  (func $has-word (result i32) (i32.le_u (global.get $at) (global.get $line-end)))

  ;; The next word, decoded. If there is none, the line is bad, and the word is empty.
  (func $next-word (result i32 i32)
    (local $start i32) (local $end i32)
    (if (i32.eqz (call $has-word)) (then (call $bad-line) (return (i32.const 0) (i32.const 0))))
    (local.set $start (global.get $at))
    (local.set $end (call $find (local.get $start) (global.get $line-end) (i32.const 0x20)))
    (global.set $at (i32.add (local.get $end) (i32.const 1)))
    (call $decode (local.get $start) (i32.sub (local.get $end) (local.get $start))))

  ;; All words that follow: address and number of their addresses and lengths. This is a list<string>, and with two words for
  ;; each element a list<entry>.
  (func $all-words (result i32 i32)
    (local $words i32) (local $count i32) (local $at i32) (local $text i32) (local $size i32)
    (local.set $words (call $allocate (i32.shl (call $count-words) (i32.const 3))))
    (local.set $at (local.get $words))
    (loop $next
      (if (call $has-word)
        (then
          (call $next-word) (local.set $size) (local.set $text)
          (i32.store (local.get $at) (local.get $text))
          (i32.store offset=4 (local.get $at) (local.get $size))
          (local.set $at (i32.add (local.get $at) (i32.const 8)))
          (local.set $count (i32.add (local.get $count) (i32.const 1)))
          (br $next))))
    (local.get $words)
    (local.get $count))

  ;; How many words follow.
  (func $count-words (result i32)
    (local $at i32) (local $count i32)
    (local.set $at (global.get $at))
    (loop $next
      (if (i32.le_u (local.get $at) (global.get $line-end))
        (then
          (local.set $at (i32.add (call $find (local.get $at) (global.get $line-end) (i32.const 0x20)) (i32.const 1)))
          (local.set $count (i32.add (local.get $count) (i32.const 1)))
          (br $next))))
    (local.get $count))

  ;; ---- Commands: identity and memory ----

  (func $id
    (call $host-id (global.get $result))
    (call $say-encoded (i32.load (global.get $result)) (i32.load offset=4 (global.get $result))))

  (func $name
    (call $host-name (global.get $result))
    (call $say-option (global.get $result)))

  (func $class
    (call $host-class (global.get $result))
    (call $say-encoded (i32.load (global.get $result)) (i32.load offset=4 (global.get $result))))

  (func $count
    (global.set $counter (i64.add (global.get $counter) (i64.const 1)))
    (call $say-number (global.get $counter)))

  ;; ---- Commands: keys and values ----

  (func $get
    (call $host-get (call $next-word) (global.get $result))
    (if (call $is-refused) (then (return)))
    (call $say-option (i32.add (global.get $result) (i32.const 4))))

  (func $put
    (call $host-put (call $next-word) (call $next-word) (global.get $result))
    (if (call $is-refused) (then (return)))
    (call $say-constant (global.get $ok)))

  (func $delete
    (call $host-delete (call $next-word) (global.get $result))
    (if (call $is-refused) (then (return)))
    (call $say-constant
      (select (global.get $true) (global.get $false) (i32.load8_u offset=4 (global.get $result)))))

  (func $get-many
    (call $host-get-many (call $all-words) (global.get $result))
    (if (call $is-refused) (then (return)))
    (call $say-entries
      (i32.load offset=4 (global.get $result)) (i32.load offset=8 (global.get $result)) (i32.const 0)))

  (func $put-many
    (local $words i32) (local $count i32)
    (call $all-words) (local.set $count) (local.set $words)
    (if (i32.and (local.get $count) (i32.const 1)) (then (call $bad-line)))
    (call $host-put-many (local.get $words) (i32.shr_u (local.get $count) (i32.const 1)) (global.get $result))
    (if (call $is-refused) (then (return)))
    (call $say-constant (global.get $ok)))

  (func $delete-many
    (call $host-delete-many (call $all-words) (global.get $result))
    (if (call $is-refused) (then (return)))
    (call $say-number (i64.load32_u offset=4 (global.get $result))))

  (func $list
    (local $entries i32) (local $said i32)
    (call $read-options)
    (call $host-list
      (i32.load offset=0 (global.get $options)) (i32.load offset=4 (global.get $options)) (i32.load offset=8 (global.get $options))
      (i32.load offset=12 (global.get $options)) (i32.load offset=16 (global.get $options)) (i32.load offset=20 (global.get $options))
      (i32.load offset=24 (global.get $options)) (i32.load offset=28 (global.get $options)) (i32.load offset=32 (global.get $options))
      (i32.load offset=36 (global.get $options)) (i32.load offset=40 (global.get $options)) (i32.load offset=44 (global.get $options))
      (i32.load (global.get $reverse)) (i32.load (global.get $limit)) (i32.load offset=4 (global.get $limit))
      (global.get $result))
    (if (call $is-refused) (then (return)))
    (local.set $entries (i32.load offset=4 (global.get $result)))
    (block $end
      (loop $next
        (call $host-next (local.get $entries) (i32.const 128) (global.get $result))
        (br_if $end (call $is-refused))
        (br_if $end (i32.eqz (i32.load offset=8 (global.get $result))))
        (call $say-entries
          (i32.load offset=4 (global.get $result)) (i32.load offset=8 (global.get $result)) (local.get $said))
        (local.set $said (i32.const 1))
        (br $next)))
    (call $host-drop-entries (local.get $entries)))

  ;; The words that follow are `<option>` or `<option>=<value>`.
  (func $read-options
    (local $word i32) (local $end i32) (local $equals i32) (local $option i32) (local $value-size i32)
    (memory.fill (global.get $options) (i32.const 0) (i32.const 60))
    (loop $next
      (if (i32.eqz (call $has-word)) (then (return)))
      (call $next-word) (local.set $end) (local.set $word)
      (local.set $end (i32.add (local.get $word) (local.get $end)))
      (local.set $equals (call $find (local.get $word) (local.get $end) (i32.const 0x3d)))
      (local.set $option
        (call $index-in (global.get $option-names) (local.get $word) (i32.sub (local.get $equals) (local.get $word))))
      (local.set $value-size
        (select
          (i32.sub (i32.sub (local.get $end) (local.get $equals)) (i32.const 1))
          (i32.const 0)
          (i32.lt_u (local.get $equals) (local.get $end))))
      (call $set-option (local.get $option) (i32.add (local.get $equals) (i32.const 1)) (local.get $value-size))
      (br $next)))

  ;; $option is a number in $option-names; -1 is none.
  (func $set-option (param $option i32) (param $value i32) (param $size i32)
    (local $at i32)
    (block $is-key (block $is-limit (block $is-reverse (block $is-none
      (br_table $is-key $is-key $is-key $is-key $is-reverse $is-limit $is-none (local.get $option)))
      (call $bad-line) (return))
      (i32.store (global.get $reverse) (i32.const 1)) (return))
      (i32.store (global.get $limit) (i32.const 1))
      (i64.store32 offset=4 (global.get $limit) (call $number (local.get $value) (local.get $size))) (return))
    (local.set $at (i32.add (global.get $options) (i32.mul (local.get $option) (i32.const 12))))
    (i32.store (local.get $at) (i32.const 1))
    (i32.store offset=4 (local.get $at) (local.get $value))
    (i32.store offset=8 (local.get $at) (local.get $size)))

  ;; ---- Commands: failing ----

  (func $fail-as-told
    (call $fail (call $next-word) (call $next-word) (call $is (call $next-word) (global.get $true))))

  ;; ---- Handlers ----

  ;; Adds 1 to the number under `inits`, for objects whose name begins with `init`.
  (func (export "holdfast:object/init-handler@0.2.0#init") (result i32)
    (local $name i32) (local $size i32) (local $inits i64)
    (call $host-name (global.get $result))
    (local.set $name (i32.load offset=4 (global.get $result)))
    (local.set $size (i32.load offset=8 (global.get $result)))
    (if (i32.eqz (i32.load8_u (global.get $result))) (then (local.set $size (i32.const 0))))
    (i32.store8 (global.get $answer) (i32.const 0))
    (if (call $starts-with (local.get $name) (local.get $size) (global.get $init))
      (then
        (call $host-get (call $text (global.get $inits)) (global.get $result))
        (if (call $is-refused) (then (call $fail-with (global.get $storage-error) (call $error-name))))
        (if (i32.load8_u offset=4 (global.get $result))
          (then (local.set $inits
            (call $number (i32.load offset=8 (global.get $result)) (i32.load offset=12 (global.get $result))))))
        (call $say-number (i64.add (local.get $inits) (i64.const 1)))
        (call $host-put (call $text (global.get $inits)) (global.get $out) (global.get $out-size) (global.get $result))
        (if (call $is-refused) (then (call $fail-with (global.get $storage-error) (call $error-name))))))
    (if (call $is (local.get $name) (local.get $size) (global.get $init-fails))
      (then (call $fail-with (global.get $bad-name) (global.get $not-to-be-made))))
    (global.get $answer))

  (func (export "holdfast:object/fetch-handler@0.2.0#fetch")
    (param $method i32) (param $method-size i32) (param $uri i32) (param $uri-size i32)
    (param $request-headers i32) (param $request-header-count i32) (param $body i32) (param $body-size i32)
    (result i32)
    (if (call $starts-with (local.get $uri) (local.get $uri-size) (global.get $/echo))
      (then
        (call $add-header (global.get $x-method) (local.get $method) (local.get $method-size))
        (call $add-header (global.get $x-uri) (local.get $uri) (local.get $uri-size))
        (call $add-header (global.get $content-type) (call $text (global.get $octet-stream)))
        (call $echo-headers (local.get $request-headers) (local.get $request-header-count))
        (call $respond (i32.const 200) (local.get $body) (local.get $body-size))
        (return (global.get $answer))))
    (if (call $starts-with (local.get $uri) (local.get $uri-size) (global.get $/status/))
      (then
        (call $add-header (global.get $set-cookie) (call $text (global.get $a=1)))
        (call $add-header (global.get $set-cookie) (call $text (global.get $b=2)))
        (call $respond
          (i32.wrap_i64 (call $number
            (i32.add (local.get $uri) (i32.const 8)) (i32.sub (local.get $uri-size) (i32.const 8))))
          (i32.const 0) (i32.const 0))
        (return (global.get $answer))))
    (if (call $is (local.get $uri) (local.get $uri-size) (global.get $/run))
      (then
        (call $run (local.get $body) (local.get $body-size))
        (call $add-header (global.get $content-type) (call $text (global.get $text/plain)))
        (call $respond (i32.const 200) (global.get $out) (global.get $out-size))
        (return (global.get $answer))))
    (call $respond (i32.const 404) (i32.const 0) (i32.const 0))
    (global.get $answer))

  ;; `x-case` with all values of that header, joined by commas, if the request has it.
  (func $echo-headers (param $header i32) (param $count i32)
    (local $is-there i32)
    (loop $next
      (if (local.get $count)
        (then
          (if (call $is (i32.load (local.get $header)) (i32.load offset=4 (local.get $header)) (global.get $x-case))
            (then
              (if (local.get $is-there) (then (call $say-constant (global.get $comma))))
              (call $say (i32.load offset=8 (local.get $header)) (i32.load offset=12 (local.get $header)))
              (local.set $is-there (i32.const 1))))
          (local.set $header (i32.add (local.get $header) (i32.const 16)))
          (local.set $count (i32.sub (local.get $count) (i32.const 1)))
          (br $next))))
    (if (local.get $is-there)
      (then (call $add-header (global.get $x-case) (global.get $out) (global.get $out-size)))))

  (global $header-count (mut i32) (i32.const 0))

  ;; Its name is a constant.
  (func $add-header (param $name i32) (param $value i32) (param $size i32)
    (local $at i32)
    (local.set $at (i32.add (global.get $headers) (i32.shl (global.get $header-count) (i32.const 4))))
    (i32.store (local.get $at) (i32.add (local.get $name) (i32.const 1)))
    (i32.store offset=4 (local.get $at) (i32.load8_u (local.get $name)))
    (i32.store offset=8 (local.get $at) (local.get $value))
    (i32.store offset=12 (local.get $at) (local.get $size))
    (global.set $header-count (i32.add (global.get $header-count) (i32.const 1))))

  ;; The answer becomes ok(response), unless the turn has failed.
  (func $respond (param $status i32) (param $body i32) (param $size i32)
    (if (global.get $failed) (then (return)))
    (i32.store8 (global.get $answer) (i32.const 0))
    (i32.store16 offset=4 (global.get $answer) (local.get $status))
    (i32.store offset=8 (global.get $answer) (global.get $headers))
    (i32.store offset=12 (global.get $answer) (global.get $header-count))
    (i32.store offset=16 (global.get $answer) (local.get $body))
    (i32.store offset=20 (global.get $answer) (local.get $size)))
)
