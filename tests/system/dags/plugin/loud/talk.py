import time


def run(lines, size=0):
    print("    indented\n\n\tä ✓ \x1b[31mred\x1b[0m")
    for number in range(lines):
        print(f"line {number}")
    for percent in range(0, 101, 5):
        print(f"{percent}%", end="\r", flush=True)
        time.sleep(0.05)
    print("\nlast", end="")
    return {"lines": lines, "blob": "x" * size}


def fail():
    print("before the end")
    raise ValueError("this is the reason")
