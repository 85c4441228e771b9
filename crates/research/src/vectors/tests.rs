//! What is kept, what is found, and what becomes of a file that is not whole.

mod clustered;

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use tempfile::TempDir;

use self::clustered::{brute_force, clustered, nearest};
use super::*;

fn by(dims: u32) -> Embedder {
    Embedder { model: "minilm".to_owned(), dims }
}

fn hash(number: usize) -> ChunkHash {
    ChunkHash::of("", &number.to_string())
}

fn open(dir: &TempDir, dims: u32) -> Vectors {
    Vectors::open(&dir.path().join("minilm"), by(dims)).unwrap()
}

fn hashed(vectors: &[Vec<f32>]) -> Vec<(ChunkHash, Vec<f32>)> {
    vectors.iter().enumerate().map(|(number, vector)| (hash(number), vector.clone())).collect()
}

/// Vectors of two numbers, each a step further round.
fn round(count: usize) -> Vec<(ChunkHash, Vec<f32>)> {
    let turned = |number: usize| {
        let (sine, cosine) = (number as f32 * 0.01).sin_cos();
        (hash(number), vec![cosine, sine])
    };
    (0..count).map(turned).collect()
}

fn numbers(snapshot: &Snapshot, wanted: usize) -> Vec<usize> {
    (0..wanted).filter(|number| snapshot.contains(&hash(*number))).collect()
}

#[test]
fn what_was_added_is_there_after_opening_anew_with_length_one() {
    let dir = tempfile::tempdir().unwrap();
    open(&dir, 2).insert(&[(hash(0), vec![3.0, 4.0]), (hash(1), vec![0.0, -2.0])]).unwrap();
    let vectors = open(&dir, 2);
    assert_eq!(vectors.opening(), Opening::default());
    let snapshot = vectors.snapshot();
    let row = snapshot.row(&hash(0)).unwrap();
    assert_eq!(snapshot.vector(row).unwrap(), [0.6, 0.8]);
    assert_eq!(snapshot.hash(row), Some(hash(0)));
    assert_eq!(snapshot.missing(&[hash(2), hash(1), hash(2)], 9), [hash(2)]);
    assert!(snapshot.vector(Row(2)).is_err());
}

#[test]
fn a_chunk_keeps_its_first_vector() {
    let dir = tempfile::tempdir().unwrap();
    let vectors = open(&dir, 2);
    vectors.insert(&[(hash(0), vec![1.0, 0.0]), (hash(0), vec![0.0, 1.0])]).unwrap();
    vectors.insert(&[(hash(0), vec![0.0, 1.0]), (hash(1), vec![0.0, 1.0])]).unwrap();
    for vectors in [vectors.snapshot(), {
        drop(vectors);
        open(&dir, 2).snapshot()
    }] {
        assert_eq!(vectors.len(), 2);
        assert_eq!(vectors.vector(vectors.row(&hash(0)).unwrap()).unwrap(), [1.0, 0.0]);
    }
}

#[test]
fn a_batch_with_a_vector_that_cannot_be_compared_adds_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let vectors = open(&dir, 2);
    for bad in [vec![0.0, 0.0], vec![f32::NAN, 1.0], vec![1.0]] {
        let fault = vectors.insert(&[(hash(0), vec![1.0, 0.0]), (hash(1), bad)]).unwrap_err();
        assert_eq!(fault.code, Code::EngineFailed);
        assert!(fault.message.contains(&hash(1).to_string()));
    }
    assert!(vectors.snapshot().is_empty());
}

#[test]
fn a_held_snapshot_does_not_see_what_is_added_or_taken_away() {
    let dir = tempfile::tempdir().unwrap();
    let vectors = open(&dir, 2);
    let all = round(3000);
    vectors.insert(&all[..1500]).unwrap();
    let held = vectors.snapshot();
    let found = nearest(&held, &[1.0, 0.0], Allowed::All, 20);
    vectors.insert(&all[1500..]).unwrap();
    vectors.keep(|_| false).unwrap();
    assert_eq!((held.len(), vectors.snapshot().len()), (1500, 0));
    assert_eq!(nearest(&held, &[1.0, 0.0], Allowed::All, 20), found);
}

#[test]
fn readers_beside_a_writer_see_whole_batches_and_what_they_find_is_right() {
    let dir = tempfile::tempdir().unwrap();
    let vectors = open(&dir, 2);
    let all = round(3000);
    let numbers: HashMap<ChunkHash, usize> = (0..3000).map(|number| (hash(number), number)).collect();
    let reads = AtomicUsize::new(0);
    std::thread::scope(|threads| {
        let writer = threads.spawn(|| {
            for batch in all.chunks(50) {
                let (before, start) = (reads.load(Ordering::SeqCst), Instant::now());
                vectors.insert(batch).unwrap();
                while reads.load(Ordering::SeqCst) == before && start.elapsed() < Duration::from_secs(10) {
                    std::thread::yield_now();
                }
            }
            vectors.keep(|of| *of != hash(0)).unwrap();
        });
        while !writer.is_finished() {
            let snapshot = vectors.snapshot();
            assert!(snapshot.len().is_multiple_of(50) || snapshot.len() == 2999, "{}", snapshot.len());
            for (row, cosine) in nearest(&snapshot, &all[700].1, Allowed::All, 3) {
                let number = numbers[&snapshot.hash(row).unwrap()];
                let truth = (0.01 * (number as f32 - 700.0)).cos();
                assert!((cosine - truth).abs() < 1e-5, "{number}: {cosine}");
            }
            reads.fetch_add(1, Ordering::SeqCst);
        }
        writer.join().unwrap();
    });
    assert_eq!(vectors.snapshot().len(), 2999);
    assert!(reads.into_inner() >= 60);
}

#[test]
fn only_what_is_alive_is_kept_and_what_is_added_then_is_there_after_opening_anew() {
    let dir = tempfile::tempdir().unwrap();
    let vectors = open(&dir, 2);
    let all = round(700);
    vectors.insert(&all[..600]).unwrap();
    vectors.refuse(hash(1000), "too long").unwrap();
    vectors.refuse(hash(1), "too long").unwrap();
    let alive: HashSet<ChunkHash> = (0..700).filter(|number| number % 3 == 1).map(hash).collect();
    let kept = vectors.keep(|hash| alive.contains(hash)).unwrap();
    assert_eq!(kept, Kept { kept: 200, dropped: 400, damaged: 0 });
    vectors.insert(&all[600..]).unwrap();
    drop(vectors);
    let vectors = open(&dir, 2);
    let snapshot = vectors.snapshot();
    let wanted: Vec<usize> = (0..700).filter(|number| number % 3 == 1 || *number >= 600).collect();
    assert_eq!(numbers(&snapshot, 700), wanted);
    for number in wanted {
        let vector = snapshot.vector(snapshot.row(&hash(number)).unwrap()).unwrap();
        assert!(f32::abs(vector[0] - all[number].1[0]) < 1e-6);
    }
    assert_eq!((snapshot.refused(&hash(1)), snapshot.refused(&hash(1000))), (Some("too long"), None));
}

#[test]
fn what_was_refused_is_not_missing_after_opening_anew() {
    let dir = tempfile::tempdir().unwrap();
    open(&dir, 2).refuse(hash(0), "the text is too long").unwrap();
    let snapshot = open(&dir, 2).snapshot();
    assert_eq!(snapshot.missing(&[hash(0), hash(1)], 9), [hash(1)]);
    assert_eq!(snapshot.refused(&hash(0)), Some("the text is too long"));
}

#[test]
fn vectors_of_another_model_are_not_opened() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(&dir, 2));
    for other in [by(3), Embedder { model: "bge-m3".to_owned(), dims: 2 }] {
        let fault = Vectors::open(&dir.path().join("minilm"), other).unwrap_err();
        assert_eq!(fault.code, Code::Conflict, "{fault:?}");
    }
    assert!(Vectors::open(dir.path(), by(0)).is_err());
}

#[test]
fn a_folder_is_open_once_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let vectors = open(&dir, 2);
    assert_eq!(Vectors::open(&dir.path().join("minilm"), by(2)).unwrap_err().code, Code::Conflict);
    drop(vectors);
    open(&dir, 2);
}

/// The file of five vectors with its length, and the length of a record.
fn five(dir: &TempDir) -> (File, u64, u64) {
    open(dir, 2).insert(&round(5)).unwrap();
    let file = OpenOptions::new().read(true).write(true).open(dir.path().join("minilm").join(LOG)).unwrap();
    let bytes = file.metadata().unwrap().len();
    (file, bytes, 16 + 8 + 8)
}

#[test]
fn a_torn_tail_is_cut_off_wherever_it_is_torn() {
    let dir = tempfile::tempdir().unwrap();
    let (file, bytes, record) = five(&dir);
    for torn in 1..record {
        file.set_len(bytes - torn).unwrap();
        let vectors = open(&dir, 2);
        assert_eq!(vectors.opening(), Opening { cut_bytes: record - torn, ..Opening::default() });
        assert_eq!(numbers(&vectors.snapshot(), 5), [0, 1, 2, 3]);
        vectors.insert(&round(5)).unwrap();
        drop(vectors);
        assert_eq!(numbers(&open(&dir, 2).snapshot(), 5), [0, 1, 2, 3, 4]);
    }
}

#[test]
fn a_tail_that_was_never_written_is_cut_off() {
    let dir = tempfile::tempdir().unwrap();
    let (file, bytes, record) = five(&dir);
    // A power cut may leave the length without the bytes.
    file.set_len(bytes + 3 * record + 5).unwrap();
    let vectors = open(&dir, 2);
    assert_eq!(vectors.opening(), Opening { cut_bytes: 3 * record + 5, ..Opening::default() });
    assert_eq!(numbers(&vectors.snapshot(), 5), [0, 1, 2, 3, 4]);
    assert_eq!(file.metadata().unwrap().len(), bytes);
}

#[test]
fn damage_in_the_middle_costs_only_the_records_that_it_hits() {
    let dir = tempfile::tempdir().unwrap();
    let (file, bytes, record) = five(&dir);
    for at in [bytes - 4 * record, bytes - 2 * record + 20] {
        file.write_all_at(&[0x55; 4], at).unwrap();
    }
    let vectors = open(&dir, 2);
    assert_eq!(vectors.opening(), Opening { damaged: 2, ..Opening::default() });
    assert_eq!(numbers(&vectors.snapshot(), 5), [0, 2, 4]);
    // Rows are not records any more: what is read must still be what is meant.
    vectors.insert(&round(6)).unwrap();
    let check = |vectors: Vectors| {
        let snapshot = vectors.snapshot();
        for (hash, vector) in round(6) {
            assert_eq!(snapshot.vector(snapshot.row(&hash).unwrap()).unwrap(), unit(&vector, 2).unwrap());
        }
        vectors.keep(|of| *of != hash(0)).unwrap();
    };
    check(vectors);
    let vectors = open(&dir, 2);
    assert_eq!((vectors.opening(), vectors.snapshot().len()), (Opening::default(), 5));
}

#[test]
fn a_vector_that_rots_while_it_is_open_is_a_fault_and_is_still_found() {
    let dir = tempfile::tempdir().unwrap();
    let vectors = open(&dir, 2);
    vectors.insert(&round(5)).unwrap();
    let file = OpenOptions::new().write(true).open(dir.path().join("minilm").join(LOG)).unwrap();
    file.write_all_at(&[0x55; 4], file.metadata().unwrap().len() - 20).unwrap();
    let snapshot = vectors.snapshot();
    let row = snapshot.row(&hash(4)).unwrap();
    assert!(snapshot.vector(row).is_err());
    let hits = snapshot.nearest(&round(5)[4].1, Allowed::All, 5).unwrap();
    assert!(hits.iter().any(|(hit, cosine)| *hit == row && (cosine - 1.0).abs() < 0.02), "{hits:?}");
    assert_eq!(vectors.keep(|of| *of != hash(0)).unwrap(), Kept { kept: 3, dropped: 1, damaged: 1 });
}

#[test]
fn a_file_that_nobody_can_tell_the_owner_of_is_put_aside() {
    let dir = tempfile::tempdir().unwrap();
    for at in [0, 9, 20] {
        let (file, ..) = five(&dir);
        file.write_all_at(&[0xff], at).unwrap();
        let vectors = open(&dir, 2);
        assert_eq!(vectors.opening(), Opening { is_set_aside: true, ..Opening::default() }, "{at}");
        assert!(vectors.snapshot().is_empty());
    }
    assert!(dir.path().join("minilm").join(DAMAGED_LOG).exists());
}

#[test]
fn a_copy_that_was_not_complete_is_not_taken() {
    let dir = tempfile::tempdir().unwrap();
    five(&dir);
    let new = dir.path().join("minilm").join(NEW_LOG);
    std::fs::write(&new, "half").unwrap();
    assert_eq!(open(&dir, 2).snapshot().len(), 5);
    assert!(!new.exists());
}

#[test]
fn equal_vectors_are_found_in_the_order_of_their_rows() {
    let dir = tempfile::tempdir().unwrap();
    let vectors = open(&dir, 3);
    let same: Vec<_> = (0..2500).map(|number| (hash(number), vec![0.3, 0.2, 0.7])).collect();
    vectors.insert(&same).unwrap();
    let hits = vectors.snapshot().nearest(&[0.1, 0.9, 0.4], Allowed::All, 12).unwrap();
    assert_eq!(hits.iter().map(|(row, _)| row.0).collect::<Vec<_>>(), (0..12).collect::<Vec<_>>());
}

#[test]
fn however_many_threads_look_the_same_rows_are_found() {
    let dir = tempfile::tempdir().unwrap();
    let vectors = open(&dir, 2);
    // Five blocks, in which each direction comes seven times or more.
    vectors.insert(&round(4500)).unwrap();
    let snapshot = vectors.snapshot();
    let found = |threads: usize| {
        let mut rows = snapshot.of_all(&[100, 40], 1.0, 300, threads);
        rows.sort_unstable_by_key(|(_, row)| *row);
        rows
    };
    let by_one = found(1);
    assert_eq!(by_one.len(), 300);
    (2..=7).for_each(|threads| assert_eq!(found(threads), by_one, "{threads} threads"));
    assert!(open(&tempfile::tempdir().unwrap(), 2).snapshot().of_all(&[100, 40], 1.0, 300, 3).is_empty());
}

#[test]
fn nothing_that_is_not_allowed_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let vectors = open(&dir, 2);
    vectors.insert(&round(2000)).unwrap();
    let snapshot = vectors.snapshot();
    // One of them is no row of this snapshot.
    let allowed: Rows = [1500, 3, 1030, 9000].into_iter().map(Row).collect();
    let hits = snapshot.nearest(&[1.0, 0.0], Allowed::Only(&allowed), 10).unwrap();
    let mut rows: Vec<u32> = hits.iter().map(|(row, _)| row.0).collect();
    rows.sort_unstable();
    assert_eq!(rows, [3, 1030, 1500]);
    assert!(snapshot.nearest(&[1.0, 0.0], Allowed::Only(&Rows::default()), 10).unwrap().is_empty());
    assert!(snapshot.nearest(&[1.0, 0.0], Allowed::All, 0).unwrap().is_empty());
    assert_eq!(snapshot.nearest(&[1.0, 0.0], Allowed::All, usize::MAX).unwrap().len(), 2000);
}

#[test]
fn a_question_that_cannot_be_compared_is_a_fault() {
    let dir = tempfile::tempdir().unwrap();
    let snapshot = open(&dir, 2).snapshot();
    for query in [vec![1.0], vec![0.0, 0.0], vec![f32::NAN, 0.0]] {
        assert_eq!(snapshot.nearest(&query, Allowed::All, 3).unwrap_err().code, Code::InvalidArgument);
    }
    assert!(snapshot.nearest(&[1.0, 0.0], Allowed::All, 3).unwrap().is_empty());
}

#[test]
fn the_ten_nearest_of_clustered_vectors_are_the_right_ones() {
    let mut random = fastrand::Rng::with_seed(5);
    for (count, dims, spread) in [(1000, 384, 0.05), (1000, 384, 0.6), (2000, 48, 0.2)] {
        let dir = tempfile::tempdir().unwrap();
        let mut all = clustered(&mut random, count + 25, dims, spread);
        let queries = all.split_off(count);
        let vectors = open(&dir, dims as u32);
        vectors.insert(&hashed(&all)).unwrap();
        let snapshot = vectors.snapshot();
        let right = |query: &Vec<f32>| {
            let exact = brute_force(&all, query, 10);
            let hits = nearest(&snapshot, query, Allowed::All, 10);
            hits.iter().filter(|(row, _)| exact.iter().any(|(place, _)| *place == row.0 as usize)).count()
        };
        let right: usize = queries.iter().map(right).sum();
        assert!(
            right * 100 >= queries.len() * 10 * 99,
            "{count} x {dims}, spread {spread}: {right} of {}",
            queries.len() * 10
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// The cosines are those of the truth, place by place: which of two equal ones stands first may differ in the last bit.
    #[test]
    fn what_is_found_is_what_exact_numbers_would_find(
        seed: u64, count in 1_usize..1500, dims in 8_usize..80, is_scattered: bool, most in 1_usize..40, every in 1_usize..5,
    ) {
        let mut random = fastrand::Rng::with_seed(seed);
        let all = match is_scattered {
            true => (0..count).map(|_| (0..dims).map(|_| random.f32() - 0.5).collect()).collect(),
            false => clustered(&mut random, count, dims, 0.3),
        };
        let query: Vec<f32> = (0..dims).map(|_| random.f32() - 0.5).collect();
        let dir = tempfile::tempdir().unwrap();
        let vectors = open(&dir, dims as u32);
        vectors.insert(&hashed(&all)).unwrap();
        let allowed: Rows = (0..count as u32).step_by(every).map(Row).collect();
        let hits = nearest(&vectors.snapshot(), &query, Allowed::Only(&allowed), most);
        let left: Vec<Vec<f32>> = all.iter().step_by(every).cloned().collect();
        let exact = brute_force(&left, &query, most);
        prop_assert_eq!(hits.len(), exact.len());
        let is_right = |((row, cosine), (_, truth)): &(&(Row, f32), &(usize, f64))| {
            (row.0 as usize).is_multiple_of(every) && (f64::from(*cosine) - truth).abs() < 1e-5
        };
        let right = hits.iter().zip(&exact).filter(is_right).count();
        prop_assert!(right * 100 >= hits.len() * 99, "{} of {}", right, hits.len());
    }
}

#[test]
fn sealed_vectors_are_read_back_and_neither_readable_nor_opened_by_another_key() {
    let dir = tempfile::tempdir().unwrap();
    let by = || Embedder { model: "embedder".to_owned(), dims: 4 };
    let open = |key: u8| Vectors::open_sealed(dir.path(), by(), &store::Seal::with_keys([key; 32], &[]));
    let hashes: Vec<ChunkHash> = (0..300).map(|n| ChunkHash::of("", &n.to_string())).collect();
    let unit = [0.5_f32; 4];
    let vectors = open(1).unwrap();
    let batch: Vec<_> = hashes.iter().map(|hash| (*hash, unit.to_vec())).collect();
    vectors.insert(&batch).unwrap();
    vectors.refuse(ChunkHash::of("", "refused"), "the heron is too long").unwrap();
    vectors.keep(|hash| hash != &hashes[7] && hashes.contains(hash)).unwrap();
    vectors.refuse(ChunkHash::of("", "refused"), "the heron is too long").unwrap();
    drop(vectors);
    let plain: Vec<u8> = unit.iter().flat_map(|number| number.to_le_bytes()).collect();
    let on_disk = std::fs::read(dir.path().join(LOG)).unwrap();
    assert!(!on_disk.windows(plain.len()).any(|part| part == plain), "a vector is readable");
    assert!(!std::fs::read(dir.path().join(REFUSED)).unwrap().windows(5).any(|part| part == b"heron"));
    assert!(open(2).is_err());
    assert_eq!(std::fs::read(dir.path().join(LOG)).unwrap(), on_disk, "another key changed the file");
    let vectors = open(1).unwrap();
    assert_eq!(vectors.opening(), Opening::default());
    let snapshot = vectors.snapshot();
    assert_eq!((snapshot.len(), snapshot.refusals()), (299, 1));
    assert_eq!(snapshot.vector(snapshot.row(&hashes[200]).unwrap()).unwrap(), unit);
    drop((vectors, snapshot));
    // A record in another's place does not open, and is made anew.
    let record = 48 + 16 + 4 * 4 + 8;
    let at = on_disk.len() - 2 * record;
    let mut moved = on_disk.clone();
    moved.copy_within(at..at + record, at - record);
    std::fs::write(dir.path().join(LOG), moved).unwrap();
    assert_eq!(open(1).unwrap().opening().damaged, 1);
}
