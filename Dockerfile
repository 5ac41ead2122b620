# The server on a processor. Build and start it with compose.yaml, or:
#   docker build -t avgate . && docker run -p 127.0.0.1:8042:8042 -v avgate:/data -e AVGATE_SERVE_TOKEN=... avgate
# mediapipe has wheels for x86-64 alone in the tested versions: on other machines, build with --platform linux/amd64.
FROM python:3.11-slim-bookworm

# What the wheels of mediapipe (EGL, GLES) and OpenCV (GL, X11, GLib) leave to the system.
RUN apt-get update \
  && apt-get install -y --no-install-recommends libegl1 libgles2 libgl1 libsm6 libxext6 libglib2.0-0 \
  && rm -rf /var/lib/apt/lists/*

RUN useradd --uid 10001 --create-home avgate && install -d -o avgate -g avgate -m 700 /data

# torch comes first and from an index of its own, whose builds don't bring a gigabyte of libraries for graphics cards.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
WORKDIR /build
COPY constraints.txt ./
RUN pip install --no-cache-dir --no-deps --index-url "$TORCH_INDEX" -c constraints.txt torch

COPY pyproject.toml README.md LICENSE ./
COPY src ./src
RUN pip install --no-cache-dir -c constraints.txt ".[cluster]"

USER avgate
WORKDIR /data
VOLUME /data
# Other machines reach a container's port, so the server asks for a token: give it as AVGATE_SERVE_TOKEN.
ENV AVGATE_SERVE_HOST=0.0.0.0 AVGATE_SERVE_PORT=8042 AVGATE_SERVE_DATA=/data \
  MPLCONFIGDIR=/tmp/matplotlib PYTHONUNBUFFERED=1
EXPOSE 8042
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
  CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8042/health/ready', timeout=4)"]
CMD ["avgate", "serve"]
