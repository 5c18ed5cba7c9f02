SUGAR = [(8.0, 0), (9.5, 0), (11.0, 0), (13.0, 1), (14.5, 1), (16.0, 1)]


def run(epochs, job, rate=2.0):
    threshold = 5.0
    for epoch in range(1, epochs + 1):
        errors = [ripe - (sugar > threshold) for sugar, ripe in SUGAR]
        threshold -= rate * sum(errors) / len(errors)
        job.metrics({"loss": sum(map(abs, errors))}, step=epoch)
        job.progress(epoch, epochs)
    job.artifact("threshold.txt", f"{threshold:.2f} °Bx\n".encode())
    return {"threshold": round(threshold, 2)}
