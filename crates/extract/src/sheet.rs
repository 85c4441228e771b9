//! Sheets of cells: each sheet is a heading and tables, which empty rows divide.

use std::io::Cursor;

use calamine::{Data, Ods, Reader, Xls, Xlsb, Xlsx, XlsxError, open_workbook_from_rs};

use super::archive::Archive;
use super::docx::core_properties;
use super::draft::{Draft, Rows};
use super::odt::refuse_encrypted;
use super::{Extracted, Kind, ReadError, Shape, limits};

/// So many empty cells in a row keep the columns below each other; more stand for one.
const MOST_GAP: u32 = 8;

pub(super) fn read(bytes: &[u8]) -> Result<Extracted, ReadError> {
    let mut draft = Draft::new(Kind::Sheet);
    if !bytes.starts_with(b"PK") {
        return by_range(open::<Xls<_>>(bytes)?, draft);
    }
    let mut archive = Archive::open(bytes)?;
    // What reads the sheets unpacks them itself, and knows no limit.
    archive.measure()?;
    core_properties(&mut archive, &mut draft)?;
    if archive.has("xl/workbook.xml") {
        return by_cell(open(bytes)?, draft);
    }
    if archive.has("xl/workbook.bin") {
        return by_range(open::<Xlsb<_>>(bytes)?, draft);
    }
    refuse_encrypted(&mut archive)?;
    by_range(open::<Ods<_>>(bytes)?, draft)
}

fn open<'a, Book: Reader<Cursor<&'a [u8]>, Error: std::fmt::Display>>(bytes: &'a [u8]) -> Result<Book, ReadError> {
    open_workbook_from_rs(Cursor::new(bytes)).map_err(broken)
}

fn broken(error: impl std::fmt::Display) -> ReadError {
    let error = error.to_string();
    if error.to_lowercase().contains("password") { ReadError::Encrypted } else { ReadError::broken("sheet", error) }
}

/// Cell by cell: a lonely cell far down costs nothing, where a whole sheet in memory could cost gigabytes.
fn by_cell(mut book: Xlsx<Cursor<&[u8]>>, mut draft: Draft) -> Result<Extracted, ReadError> {
    for name in book.sheet_names() {
        let mut cells = match book.worksheet_cells_reader(&name) {
            Ok(cells) => cells,
            Err(XlsxError::NotAWorksheet(what)) => {
                draft.note(format!("`{name}` is a {what} and was left out"));
                continue;
            }
            Err(error) => return Err(broken(error)),
        };
        let mut sheet = Sheet::new(&name, &mut draft)?;
        while let Some(cell) = cells.next_cell().map_err(broken)? {
            sheet.cell(cell.get_position(), &shown(&Data::from(cell.get_value().clone())))?;
        }
        sheet.end()?;
    }
    Ok(draft.finish())
}

fn by_range<'a, Book>(mut book: Book, mut draft: Draft) -> Result<Extracted, ReadError>
where
    Book: Reader<Cursor<&'a [u8]>, Error: std::fmt::Display>,
{
    for name in book.sheet_names() {
        let range = book.worksheet_range(&name).map_err(broken)?;
        let (top, left) = range.start().unwrap_or_default();
        let mut sheet = Sheet::new(&name, &mut draft)?;
        for (row, column, value) in range.used_cells() {
            let at = (top.saturating_add(row as u32), left.saturating_add(column as u32));
            sheet.cell(at, &shown(value))?;
        }
        sheet.end()?;
    }
    Ok(draft.finish())
}

/// A sheet whose cells come row by row.
struct Sheet<'a> {
    draft: &'a mut Draft,
    rows: Rows,
    /// Where the next cell would be.
    at: (u32, u32),
}

impl<'a> Sheet<'a> {
    fn new(name: &str, draft: &'a mut Draft) -> Result<Self, ReadError> {
        draft.push(Shape::Heading(1), name)?;
        Ok(Self { draft, rows: Rows::default(), at: (0, 0) })
    }

    fn cell(&mut self, (row, column): (u32, u32), text: &str) -> Result<(), ReadError> {
        if text.trim().is_empty() {
            return Ok(());
        }
        if row != self.at.0 {
            self.rows.end_row();
            limits::within("bytes of text", self.rows.len(), limits::TEXT_BYTES)?;
            if row > self.at.0 + 1 || row < self.at.0 {
                self.draft.push(Shape::Table, &self.rows.text())?;
            }
            self.at = (row, 0);
        }
        let gap = column.saturating_sub(self.at.1);
        for _ in 0..if gap > MOST_GAP { 1 } else { gap } {
            self.rows.cell("");
        }
        self.rows.cell(text);
        self.at.1 = column.saturating_add(1);
        Ok(())
    }

    fn end(mut self) -> Result<(), ReadError> {
        self.draft.push(Shape::Table, &self.rows.text())
    }
}

fn shown(value: &Data) -> String {
    match value {
        Data::DateTime(at) if at.is_datetime() => date(at),
        other => other.to_string(),
    }
}

fn date(at: &calamine::ExcelDateTime) -> String {
    let (year, month, day, hour, minute, ..) = at.to_ymd_hms_milli();
    let date = format!("{year:04}-{month:02}-{day:02}");
    if (hour, minute) == (0, 0) { date } else { format!("{date} {hour:02}:{minute:02}") }
}
