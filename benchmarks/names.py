"""Vietnamese given names without their marks: what the small language model learns to write.

A name is two syllables, such as "minhanh" or "thuhuong": most given names are a middle syllable and a last one, and any
pair of them sounds like a name.
"""

from __future__ import annotations

import random

MIDDLE = """
    anh bao bich cam cong dang diem dinh duc dung gia ha hai hoai hoang hong huu huy khanh kim lan le linh mai manh minh
    my nam ngoc nguyet nhat nhu phuc phuong quang quoc quynh tam tan thai thanh thao the thien thu thuy tien tra trong
    truc trung tu tuan tuyet van viet vinh xuan yen
"""

LAST = """
    an anh bach bang bao binh bich cau chau chi chien cuc cuong dai dan dao dat diep dieu dong duc dung duong duy giang
    ha hai han hang hanh hao hien hiep hieu hoa hoai hoan hoang hong hue hung huong huy huyen khai khang khanh khoa khoi
    khue kien kiet lam lan lien linh loan loc loi long luan ly mai man mien minh my nam nga ngan nghi nghia ngoc nguyen
    nguyet nhan nhi nhien nhung nu oanh phat phi phong phu phuc phung phuoc phuong quan quang quy quyen quyet quynh sang
    son suong tai tam tan thach thai thang thanh thao thi thien thinh tho thoa thong thu thuan thuc thuy tien tin tinh
    toan tra tram tri trinh truc trung truong tu tuan tue tung tuyen tuyet uyen van vi viet vinh vu vuong vy xuan yen
"""


def names(count: int = 2000, seed: int = 0) -> list[str]:
    """That many different names, in an order that the seed decides.

    >>> names(4)
    ['xuanmy', 'tronghoan', 'thuhan', 'mytien']
    """
    pairs = [middle + last for middle in MIDDLE.split() for last in LAST.split() if middle != last]
    found = sorted(set(pairs))
    random.Random(seed).shuffle(found)
    return found[:count]
