;; A class that uses every kind of stored data, in as few bytes as possible.
;;
;; | request | does |
;; |---|---|
;; | `GET` | answers the value of the key `value`, 404 if there is none |
;; | `PUT`, body | puts the body there |
;; | `PATCH`, body: SQL | runs it |
;; | `POST`, body: milliseconds since the Unix epoch | sets the alarm |
;; | `DELETE` | delete-all |
;;
;; The handler of the alarm puts `rang` under `value`. A refusal of the contract is a trap.
(module
  (import "holdfast:object/key-value@0.2.0" "get" (func $get (param i32 i32 i32)))
  (import "holdfast:object/key-value@0.2.0" "put" (func $put (param i32 i32 i32 i32 i32)))
  (import "holdfast:object/sql@0.2.0" "exec" (func $exec (param i32 i32 i32 i32 i32)))
  (import "holdfast:object/alarms@0.2.0" "set" (func $set-alarm (param i64 i32)))
  (import "holdfast:object/storage@0.2.0" "delete-all" (func $delete-all (param i32)))

  (memory (export "memory") 64)
  ;; The result of a host call: a byte that is 1 for an error; its value is at offset 8.
  (global $result i32 (i32.const 0))
  ;; result<response, failure>: 24 bytes.
  (global $answer i32 (i32.const 128))
  (data (i32.const 256) "value")
  (data (i32.const 264) "rang")
  (global $free (mut i32) (i32.const 1024))

  (func (export "cabi_realloc") (param $old i32) (param $old-size i32) (param $align i32) (param $size i32) (result i32)
    (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $free) (i32.const 7)) (i32.const -8)))
    (global.set $free (i32.add (local.get $at) (local.get $size)))
    (memory.copy (local.get $at) (local.get $old) (local.get $old-size))
    (local.get $at))

  (func $end-turn (param $answer i32) (global.set $free (i32.const 1024)))
  (export "cabi_post_holdfast:object/fetch-handler@0.2.0#fetch" (func $end-turn))
  (export "cabi_post_holdfast:object/alarm-handler@0.2.0#alarm" (func $end-turn))

  (func $must-be-fine (if (i32.load8_u (global.get $result)) (then (unreachable))))

  (func $keep (param $value i32) (param $size i32)
    (call $put (i32.const 256) (i32.const 5) (local.get $value) (local.get $size) (global.get $result))
    (call $must-be-fine))

  (func $number (param $text i32) (param $size i32) (result i64)
    (local $number i64)
    (loop $next
      (if (local.get $size)
        (then
          (local.set $number (i64.add
            (i64.mul (local.get $number) (i64.const 10))
            (i64.sub (i64.load8_u (local.get $text)) (i64.const 48))))
          (local.set $text (i32.add (local.get $text) (i32.const 1)))
          (local.set $size (i32.sub (local.get $size) (i32.const 1)))
          (br $next))))
    (local.get $number))

  (func $respond (param $status i32) (param $body i32) (param $size i32) (result i32)
    (memory.fill (global.get $answer) (i32.const 0) (i32.const 24))
    (i32.store16 offset=4 (global.get $answer) (local.get $status))
    (i32.store offset=8 (global.get $answer) (i32.const 8))
    (i32.store offset=16 (global.get $answer) (local.get $body))
    (i32.store offset=20 (global.get $answer) (local.get $size))
    (global.get $answer))

  (func (export "holdfast:object/fetch-handler@0.2.0#fetch")
    (param $method i32) (param $method-size i32) (param $uri i32) (param $uri-size i32)
    (param $headers i32) (param $header-count i32) (param $body i32) (param $body-size i32)
    (result i32)
    (local $second i32)
    ;; The second letter distinguishes the methods.
    (local.set $second (i32.load8_u offset=1 (local.get $method)))
    (if (i32.and (i32.eq (local.get $second) (i32.const 69)) (i32.eq (local.get $method-size) (i32.const 3))) ;; GET
      (then
        (call $get (i32.const 256) (i32.const 5) (global.get $result))
        (call $must-be-fine)
        (if (i32.eqz (i32.load8_u offset=4 (global.get $result)))
          (then (return (call $respond (i32.const 404) (i32.const 8) (i32.const 0)))))
        (return (call $respond
          (i32.const 200) (i32.load offset=8 (global.get $result)) (i32.load offset=12 (global.get $result))))))
    (if (i32.eq (local.get $second) (i32.const 85)) ;; PUT
      (then (call $keep (local.get $body) (local.get $body-size))))
    (if (i32.eq (local.get $second) (i32.const 65)) ;; PATCH
      (then
        (call $exec (local.get $body) (local.get $body-size) (i32.const 8) (i32.const 0) (global.get $result))
        (call $must-be-fine)))
    (if (i32.eq (local.get $second) (i32.const 79)) ;; POST
      (then
        (call $set-alarm (call $number (local.get $body) (local.get $body-size)) (global.get $result))
        (call $must-be-fine)))
    (if (i32.eq (local.get $method-size) (i32.const 6)) ;; DELETE
      (then
        (call $delete-all (global.get $result))
        (call $must-be-fine)))
    (call $respond (i32.const 204) (i32.const 8) (i32.const 0)))

  (func (export "holdfast:object/alarm-handler@0.2.0#alarm") (param $scheduled i64) (param $failed i32) (result i32)
    (call $keep (i32.const 264) (i32.const 4))
    (memory.fill (global.get $answer) (i32.const 0) (i32.const 24))
    (global.get $answer)))
