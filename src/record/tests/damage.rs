//! Records that were cut, or that hold what this version does not understand.

use super::*;

#[test]
fn a_record_cut_at_any_byte_still_reads_and_says_so() {
    let whole = tempfile::tempdir().unwrap();
    let mut writer = Writer::create(whole.path(), &header()).unwrap();
    writer.write_event(&note(5, "hello")).unwrap();
    for n in 0..2 {
        let requests = [(Outcome::Ok, "a", 500)];
        writer
            .write_interval(&second(n, "GET /", &requests))
            .unwrap();
    }
    writer.write_event(&end(2_000_017)).unwrap();
    writer.finish().unwrap();
    let read = |name| std::fs::read(whole.path().join(name)).unwrap();
    let (events, histograms) = (read(RECORD_FILE), read(HISTOGRAM_FILE));
    let intact = Record::load(&whole.path().join(RECORD_FILE)).unwrap();
    assert_eq!(intact.damage, Vec::<String>::new());
    let head = events.iter().position(|&b| b == b'\n').unwrap();

    let cut = tempfile::tempdir().unwrap();
    let place = |name: &str, bytes: &[u8]| std::fs::write(cut.path().join(name), bytes).unwrap();
    place(HISTOGRAM_FILE, &histograms);
    for length in 0..events.len() {
        place(RECORD_FILE, &events[..length]);
        match Record::load(cut.path()) {
            Err(e) => {
                assert!(length < head, "cut at {length}: {e}");
                let says = e.to_string();
                assert!(says.contains("cut off") || says.contains("empty"), "{says}");
            }
            // Only the very last line end may be missed without loss.
            Ok(record) if length == events.len() - 1 => assert_eq!(record.events, intact.events),
            Ok(record) => {
                assert!(
                    length >= head && !record.damage.is_empty(),
                    "cut at {length}"
                );
                assert!(record.damage.iter().any(|d| d.contains("without an end")));
            }
        }
    }
    place(RECORD_FILE, &events);
    let comments = histograms.windows(4).position(|w| w == b"Tag=").unwrap();
    for length in 0..histograms.len() {
        place(HISTOGRAM_FILE, &histograms[..length]);
        let record = Record::load(cut.path()).unwrap();
        assert_eq!(record.events, intact.events);
        let at_line = length == 0 || histograms[length - 1] == b'\n';
        let lost_roll_up_only = at_line
            && record
                .intervals
                .iter()
                .all(|i| !i.histograms[0].response.is_empty());
        assert!(
            !record.damage.is_empty() || lost_roll_up_only,
            "cut at {length}"
        );
        if length < comments {
            let says = record.damage.join("; ");
            assert!(says.contains("of 2 of 2 seconds are missing"), "{says}");
        }
    }
    std::fs::remove_file(cut.path().join(HISTOGRAM_FILE)).unwrap();
    let record = Record::load(cut.path()).unwrap();
    assert!(
        record.damage[0].contains("intervals.hlog is missing"),
        "{:?}",
        record.damage
    );
}

#[test]
fn a_killed_run_says_what_it_lacks() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = Writer::create(dir.path(), &header()).unwrap();
    for n in 0..5 {
        writer
            .write_interval(&second(n, "GET /", &[(Outcome::Ok, "a", 500)]))
            .unwrap();
    }
    // As after SIGKILL: no destructor runs.
    std::mem::forget(writer);
    let record = Record::load(dir.path()).unwrap();
    assert_eq!(record.intervals.len(), 5);
    let [cut, roll_up] = &record.damage[..] else {
        panic!("{:?}", record.damage)
    };
    assert!(cut.contains("stops at 5.0 s without an end"), "{cut}");
    assert!(
        roll_up.contains("of the last 5 seconds are missing"),
        "{roll_up}"
    );
}

#[test]
fn what_is_not_understood_is_named_and_the_rest_is_read() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &[]);
    let path = dir.path().join(RECORD_FILE);
    let text = std::fs::read_to_string(&path).unwrap();
    let (head, tail) = text.split_once('\n').unwrap();
    let middle = [
        r#"{"t_us":10,"kind":"moon","phase":"full"}"#,
        "\0\0\0 rubbish",
        r#"{"t_us":11,"kind":"phase","phase":"of-the-moon"}"#,
        r#"{"t_us":12,"kind":"note","level":"info","text":"kept","new":1}"#,
    ];
    std::fs::write(&path, format!("{head}\n{}\n{tail}", middle.join("\n"))).unwrap();
    let record = Record::load(&path).unwrap();
    let unknown = |at| Event {
        at,
        what: What::Unknown,
    };
    assert_eq!(
        record.events[..3],
        [unknown(10), unknown(11), note(12, "kept")]
    );
    let [rubbish, moon] = &record.damage[..] else {
        panic!("{:?}", record.damage)
    };
    assert!(
        rubbish.starts_with("record.jsonl line 3: not an event"),
        "{rubbish}"
    );
    assert!(
        moon.starts_with("record.jsonl line 4: the event `phase`"),
        "{moon}"
    );
}

#[test]
fn many_damaged_lines_are_counted() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &[]);
    let path = dir.path().join(HISTOGRAM_FILE);
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text + &"Tag=x\n".repeat(500)).unwrap();
    let damage = Record::load(dir.path()).unwrap().damage;
    assert_eq!(damage.len(), 21);
    assert_eq!(damage[20], "intervals.hlog: 480 more damaged lines");
}

#[test]
fn only_a_record_of_a_format_known_here_is_read() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &[]);
    let path = dir.path().join(RECORD_FILE);
    let text = std::fs::read_to_string(&path).unwrap();
    for (from, to, says) in [
        ("\"squall_record\":1", "\"squall_record\":2", "a later one"),
        ("\"squall_record\":1", "\"other\":1", "no `squall_record`"),
        ("{\"squall_record\":1", "squall", "not JSON"),
        (
            "\"seed\":7,\"scenario\"",
            "\"s\":7,\"scenario\"",
            "missing field `seed`",
        ),
    ] {
        assert!(text.contains(from));
        std::fs::write(&path, text.replacen(from, to, 1)).unwrap();
        let error = Record::load(dir.path()).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
    std::fs::write(
        &path,
        text.replacen("\"squall_record\":1", "\"squall_record\":0", 1),
    )
    .unwrap();
    assert_eq!(Record::load(dir.path()).unwrap().header.squall_record, 0);
    let nowhere = Record::load(&dir.path().join("none")).unwrap_err();
    assert!(nowhere.to_string().contains("cannot read"), "{nowhere}");
}

#[test]
fn a_record_is_never_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &[]);
    let again = Writer::create(dir.path(), &header());
    assert!(matches!(again.err(), Some(RecordError::Exists(_))));
    assert!(Record::load(dir.path()).unwrap().damage.is_empty());
}
