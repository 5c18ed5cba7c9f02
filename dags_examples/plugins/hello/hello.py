def greet(name: str, times: int = 1) -> dict:
    for _ in range(times):
        print(f"Hello {name}")
    return {"greeted": name}
