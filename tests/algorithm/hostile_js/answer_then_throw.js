onmessage = () => { postMessage({ body: "first" }); throw new Error("late"); };
