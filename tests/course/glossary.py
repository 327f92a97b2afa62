"""The words of the course: forms that its texts do not use, and what they say instead.

Each entry is one decision where the lecture notes and the community collide.  Quotations, in “…”, are left alone.
"""

import re
import unicodedata

#: forbidden form (a regular expression, without capitals) -> what to write
FORBIDDEN = {
    r"\blớp (ẩn|đầu vào|đầu ra|nhập|xuất)\b": "tầng ẩn, tầng đầu vào, tầng đầu ra: “lớp” là class",
    r"\bđộ lệch\b(?! chuẩn)": "hệ số điều chỉnh (bias): “độ lệch” là deviation",
    r"\bđộ chệch\b": "hệ số điều chỉnh (bias)",
    r"\bphụ trợ\b": "đại lượng liên hợp (adjoint), sai số δ",
    r"\b(cơ chế|phép) lan truyền\b(?! (xuôi|ngược))": "broadcast: lan truyền chỉ có xuôi và ngược",
    r"\bquy tắc dây chuyền\b": "quy tắc chuỗi",
    r"\blan truyền (tiến|thuận)\b": "lan truyền xuôi; “tiến” chỉ dành cho chế độ tiến của vi phân tự động",
    r"\bchế độ (xuôi|thuận|lùi)\b": "chế độ tiến, chế độ ngược",
    r"\b(hàm lỗi|độ lỗi|lan truyền lỗi|lỗi δ)\b": "hàm mất mát, sai số δ: “lỗi” chỉ là bug",
    r"\btổng trọng số\b": "tổng có trọng số",
    r"\b(vectơ|véc-?tơ)\b": "vector",
    r"\bgiá trị riêng\b": "trị riêng",
    r"\btham số điều chỉnh\b": "hệ số tắt dần λ (damping)",
    r"\b(biến mất|triệt tiêu) (đạo hàm|gradient)\b": "tiêu biến gradient",
    r"\bnguyên thủy\b": "giá trị gốc (primal)",
    r"\bbối cảnh mất mát\b": "cảnh quan mất mát, bề mặt mất mát",
    r"\bdấu vết (đánh giá|tính toán)\b": "bảng vết tính toán (trace)",
    r"\b(thiết bị ghi hình|đồ thị biểu tượng)\b": "băng ghi (tape), đạo hàm ký hiệu",
    r"\btối đại\b": "hợp lý cực đại",
    r"\bkhông cần thay thế\b": "không hoàn lại",
    r"\bmạng truyền xuôi\b": "mạng truyền thẳng",
    r"\bnơron\b": "nơ-ron",
    r"\bhọc quá mức\b": "quá khớp",
    r"\bđơn nhất\b": "hàm đồng nhất",
    r"\btối ưu hoá\b|\bhoá\b": "tối ưu hóa, chuẩn hóa: dấu đặt trên o",
}


def violations(text: str) -> list[str]:
    """Every forbidden form in the text, with what to write; quotations are not read.

    >>> violations("δ của lớp ẩn")
    ['lớp ẩn: tầng ẩn, tầng đầu vào, tầng đầu ra: “lớp” là class']
    >>> violations("δ của tầng ẩn; S0 viết “lớp ẩn”")
    []
    """
    said = re.sub(r"“[^”]*”", "", unicodedata.normalize("NFC", text)).lower()
    return [f"{found[0]}: {instead}" for pattern, instead in FORBIDDEN.items() for found in re.finditer(pattern, said)]
