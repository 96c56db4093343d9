//! Tables of values: what is taken, as what, and what is refused.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::unit::ExitSet;

#[test]
fn durations_as_systemd_time_has_them() {
    for (text, micros) in [
        ("0", 0),
        ("90", 90_000_000),
        ("5min 20s", 320_000_000),
        ("500ms", 500_000),
        ("2 h", 7_200_000_000),
        ("1y 12month", 31_557_600_000_000 + 12 * 2_629_800_000_000),
        ("55s500ms", 55_500_000),
        ("300ms20s 5day", 432_020_300_000),
        ("1.5s", 1_500_000),
        ("0.5min", 30_000_000),
        ("7us", 7),
        ("7µs", 7),
        ("1M", 2_629_800_000_000),
        ("1m", 60_000_000),
        ("1.5h", 5_400_000_000),
        ("1h30", 3_630_000_000),
        ("5min20", 320_000_000),
        ("5 5", 10_000_000),
        ("5s 5", 10_000_000),
        (".5s", 500_000),
        ("+5", 5_000_000),
        ("1.0000000001s", 1_000_000),
        ("0.99us", 0),
    ] {
        let expected = Some(Duration::from_micros(micros));
        assert_eq!(duration(text).unwrap(), expected, "{text}");
    }
    assert_eq!(duration("infinity").unwrap(), None);
    assert_eq!(duration(" infinity ").unwrap(), None);
    for text in [
        "",
        " ",
        "s",
        "-1",
        "5 -1",
        "5x",
        "5mins",
        "5+5",
        "1.5.5",
        "1e3",
        "5,5s",
        "0x5",
        "1.s",
        "+.5",
        "99999999999999999999s",
        "600000y",
        "5S",
        "inf",
    ] {
        assert!(duration(text).is_err(), "{text:?} was taken");
    }
}

#[test]
fn sizes_to_the_base_1024() {
    for (text, size) in [
        ("0", 0),
        ("4096", 4096),
        ("1K", 1024),
        ("512M", 512 << 20),
        ("1.5G", 3 << 29),
        ("2 T", 2 << 40),
        ("1E", 1 << 60),
        ("7B", 7),
        ("infinity", u64::MAX),
    ] {
        assert_eq!(bytes(text).unwrap(), size, "{text}");
    }
    for text in [
        "",
        "4Q",
        "M",
        "-1",
        "4GB",
        "4g",
        "16E",
        "50%",
        "1e9",
        "0x10",
        "18446744073709551615",
        "99999999999999999999999",
    ] {
        assert!(bytes(text).is_err(), "{text:?} was taken");
    }
    let error = bytes("4Q").unwrap_err();
    assert_eq!(error.message, "cannot read \"4Q\" as a size");
    assert_eq!(error.help.unwrap(), "write for example 512M or 4G");
}

#[test]
fn shares_modes_and_numbers() {
    assert_eq!(permille("150%").unwrap(), 1500);
    assert_eq!(permille("12.5%").unwrap(), 125);
    for text in ["150", "0%", "-5%", "%", "x%", "99999999999%", "0.01%"] {
        assert!(permille(text).is_err(), "{text}");
    }
    assert_eq!(octal("0022").unwrap(), 0o22);
    assert_eq!(octal("7777").unwrap(), 0o7777);
    for text in ["", "8", "+22", "10000", "-1", "000022"] {
        assert!(octal(text).is_err(), "{text}");
    }
    assert_eq!(integer("-20", -20, 19).unwrap(), -20);
    assert!(integer("20", -20, 19).is_err());
    for (text, number) in [
        ("0x10", 16),
        ("010", 8),
        ("0b11", 3),
        ("0o17", 15),
        ("-0x2", -2),
    ] {
        assert_eq!(integer(text, -20, 19).unwrap(), number, "{text}");
    }
    for text in ["0x", "08", "0x+1", "0b2", "--1", "0xfffffffffffffffff"] {
        assert!(integer(text, -20, 19).is_err(), "{text}");
    }
    assert!(integer("1.0", 0, 5).is_err());
}

#[test]
fn truth() {
    for text in ["yes", "1", "TRUE", "on", "t", "y"] {
        assert_eq!(boolean(text), Ok(true), "{text}");
    }
    for text in ["no", "0", "false", "Off", "f", "n"] {
        assert_eq!(boolean(text), Ok(false), "{text}");
    }
    for text in ["", "2", "maybe", "yes ", "нет"] {
        assert!(boolean(text).is_err(), "{text:?}");
    }
}

#[test]
fn signals_and_statuses() {
    for (text, number) in [
        ("SIGTERM", 15),
        ("INT", 2),
        ("9", 9),
        ("SIGSYS", 31),
        ("RTMIN", 34),
        ("SIGRTMIN+3", 37),
        ("SIGRTMAX-2", 62),
        ("RTMAX", 64),
        ("SIGPOLL", 29),
    ] {
        assert_eq!(signal(text).unwrap(), number, "{text}");
    }
    for text in [
        "",
        "0",
        "65",
        "-9",
        "SIGSIGTERM",
        "RTMIN+31",
        "RTMIN+-1",
        "RTMIN+999999999999",
        "term",
    ] {
        assert!(signal(text).is_err(), "{text}");
    }
    assert_eq!(
        signal("SIGTREM").unwrap_err().help.unwrap(),
        "did you mean SIGTERM?"
    );
    let mut set = ExitSet::default();
    for word in ["TEMPFAIL", "250", "SIGKILL", "250"] {
        exit_status(word, &mut set).unwrap();
    }
    assert_eq!(
        (set.codes.as_slice(), set.signals.as_slice()),
        (&[75, 250][..], &[9][..])
    );
    for word in ["256", "-1", "EX_TEMPFAIL", ""] {
        assert!(exit_status(word, &mut set).is_err(), "{word}");
    }
}

#[test]
fn resource_limits() {
    for (name, text, expected) in [
        ("NOFILE", "1024:65536", (1024, 65536)),
        ("NOFILE", "512", (512, 512)),
        ("CORE", "0:infinity", (0, u64::MAX)),
        ("AS", "4G", (4 << 30, 4 << 30)),
        ("CPU", "1min:90", (60, 90)),
        ("CPU", "1500ms", (2, 2)),
        ("RTTIME", "5", (5, 5)),
        ("RTTIME", "5ms", (5000, 5000)),
    ] {
        assert_eq!(limit(name, text).unwrap(), expected, "{name} {text}");
    }
    for (name, text) in [
        ("NOFILE", "4K"),
        ("NOFILE", "5:4"),
        ("AS", "x"),
        ("NPROC", "1:2:3"),
        ("CPU", ":"),
    ] {
        assert!(limit(name, text).is_err(), "{name} {text}");
    }
}

/// Measured with systemd 252 (`systemd-analyze verify` with debug output).
#[test]
fn words_as_systemd_splits_them() {
    for (value, expected) in [
        (r"one two", &["one", "two"][..]),
        (r#"a"b c"d 'x'y "x"'y z'"#, &["ab cd", "xy", "xy z"]),
        (r#""a 'b' c" 'a "b" \'c\' '"#, &["a 'b' c", "a \"b\" 'c' "]),
        (r#""" ''"#, &["", ""]),
        (r"\x41 \u00e9 \101 a\x20b\s", &["A", "é", "A", "a b "]),
        (r"\q \x4 \u12 \0", &["\\q", "\\x4", "\\u12", "\\0"]),
        (r"a\ b", &["a\\ b"]),
        (r"\; \;x a\;b ;x", &[";", "\\;x", "a\\;b", ";x"]),
        ("a\t b", &["a", "b"]),
    ] {
        let words = split(value, Escapes::Interpret).unwrap();
        let texts: Vec<&str> = words.words.iter().map(|word| word.text.as_str()).collect();
        assert_eq!(texts, expected, "{value}");
    }
    for value in [r#""open"#, "it's", r"\x00", r"\xff", r"\ud800", r"\400"] {
        assert!(split(value, Escapes::Interpret).is_err(), "{value}");
    }
    let kept = split(r"a\x2db.service", Escapes::Keep).unwrap();
    assert_eq!(kept.words[0].text, r"a\x2db.service");
}

fn lines(value: &str) -> Result<Vec<Vec<String>>, String> {
    let expand = |word: &Word| Ok(word.text.clone());
    command::commands(value, expand)
        .map(|(commands, _)| commands.into_iter().map(|command| command.argv).collect())
        .map_err(|error| error.message)
}

/// Measured with systemd 252, as above.
#[test]
fn command_lines_as_systemd_reads_them() {
    for (value, expected) in [
        (
            r#"/bin/echo one ; /bin/echo "two two" \; ;"#,
            vec![vec!["/bin/echo", "one"], vec!["/bin/echo", "two two", ";"]],
        ),
        (
            r"/bin/echo a;/bin/echo b",
            vec![vec!["/bin/echo", "a;/bin/echo", "b"]],
        ),
        (
            r"/bin/echo ; ; /bin/echo c",
            vec![vec!["/bin/echo"], vec!["/bin/echo", "c"]],
        ),
        (r"; /bin/echo b", vec![vec!["/bin/echo", "b"]]),
        (r#"/bin/echo ";" ';'"#, vec![vec!["/bin/echo", ";", ";"]]),
        (r"@/bin/sh name -c", vec![vec!["name", "-c"]]),
        (r#""-/bin/echo" x"#, vec![vec!["/bin/echo", "x"]]),
        (r"echo x", vec![vec!["echo", "x"]]),
    ] {
        assert_eq!(lines(value).unwrap(), expected, "{value}");
    }
    for value in [
        "",
        ";",
        "--/bin/echo",
        "- /bin/echo",
        "+!/bin/echo",
        "@/bin/echo",
        "/bin/",
        "./x",
        "../x",
        "bin/x",
        "\"\\n\"",
        "$SHELL",
        "'/bin/echo",
    ] {
        assert!(lines(value).is_err(), "{value:?} was taken");
    }
    let expand = |word: &Word| Ok(word.text.clone());
    let (commands, _) = command::commands("-:+@/bin/a b", expand).unwrap();
    let command = &commands[0];
    assert!(command.ignore_failure && command.no_environment && command.privileged);
    assert_eq!(
        (command.program.as_str(), command.argv.as_slice()),
        ("/bin/a", &["b".to_owned()][..])
    );
}

#[test]
fn a_text_is_unquoted_only_as_a_whole() {
    for (value, expected) in [
        (r#""a\nb""#, Some("a\nb")),
        (r#"'say "hi"'"#, Some("say \"hi\"")),
        (r#""Hello" she said "bye""#, None),
        (r#""a"b"c""#, None),
        ("it's", None),
        ("plain", None),
        (r#""open"#, None),
        (r#""a\q""#, None),
        (r#"""#, None),
        (r#""a\""#, None),
        (r#""""#, Some("")),
    ] {
        assert_eq!(words::unquote(value).as_deref(), expected, "{value}");
    }
}

proptest! {
    #[test]
    fn no_value_at_all_breaks_a_parser(text in any::<String>(), ascii in "[ -~]{0,40}") {
        for text in [&text, &ascii] {
            let _ = (boolean(text), duration(text), bytes(text), permille(text), octal(text));
            let _ = (signal(text), limit("CPU", text), limit("AS", text), limit("NOFILE", text));
            let _ = (lines(text), words::unquote(text), super::super::specifier::unescape(text));
            if let Ok(words) = split(text, Escapes::Interpret) {
                for word in words.words {
                    prop_assert!(text.get(word.range).is_some());
                }
            }
        }
    }

    #[test]
    fn whole_spans_add_up(hours in 0_u64..1000, millis in 0_u64..1_000_000) {
        let expected = Duration::from_millis(hours * 3_600_000 + millis);
        prop_assert_eq!(duration(&format!("{hours}h {millis}ms")), Ok(Some(expected)));
    }
}
