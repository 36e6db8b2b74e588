onmessage = () => close();
