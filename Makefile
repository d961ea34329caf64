# The only thing needed beforehand: Python 3.10 or newer with venv and pip. Choose one with `make PYTHON=python3.12 demo`.
# Without an NVIDIA GPU, PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu saves 5 GB of CUDA libraries.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: help install demo lab classroom test test-fast studies results recordings figures notebooks text solved handout site site-teachers slides bench lint clean

help:
	@echo "make demo       train three methods, print two tables, draw a figure (about a minute)"
	@echo "make lab        open JupyterLab in notebooks/"
	@echo "make classroom  the interactive labs as a page for a projector"
	@echo "make test       run every test; make test-fast leaves out the slow ones"
	@echo "make studies    the recorded studies (about four hours; continues where it was stopped)"
	@echo "make results    docs/results.md and the README's numbers, from the recorded results"
	@echo "make recordings record the runs, maps and labs' data that come with the package"
	@echo "make figures    rebuild figures/ from the embedded data and the recorded results (about two minutes; needs Chromium)"
	@echo "make notebooks  run every notebook, made from notebooks/text/ and solutions/, and keep its outputs"
	@echo "make text       the other way: notebooks/text/ from notebooks that were edited in JupyterLab"
	@echo "make handout    copies of the notebooks without results, for a class that should predict; make solved adds the solutions"
	@echo "make site       the notebooks and docs/ as pages in out/site, readable without server or network"
	@echo "make site-teachers  the same with the guide for teachers and the exam"
	@echo "make slides     slides from the notebooks in out/slides, likewise"
	@echo "make bench      measure speed and memory"
	@echo "make lint       check the style"

# Installed once, and again only when the lists of packages change.
.venv/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 10) and 'Python 3.10 or newer is needed; try make PYTHON=python3.12 ...')"
	@echo "Installing into .venv, once: a few minutes, and several GB where PyTorch brings CUDA along ..."
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[dev]"
	@touch $@

install: .venv/installed

demo: install
	$(BIN)/python -m layermatch_lite demo

lab: install
	$(BIN)/jupyter lab --ip=127.0.0.1 --LabApp.default_url=/lab/tree/notebooks/00_quickstart.ipynb

# Serves this machine alone, from this machine alone. layermatch_lite/labs/voila/voila.json: the page takes neither theme nor
# template from its address, and a closed page's kernel ends within two minutes. jupytext's extension of JupyterLab, which
# Voilà cannot load, stays out.
classroom: install
	@echo "Opening the classroom; stop it with Ctrl-C."
	JUPYTER_PATH=layermatch_lite/labs $(BIN)/voila notebooks/09_classroom.ipynb --Voila.config_file_paths=layermatch_lite/labs/voila

# Two files of tests at a time, each on one thread: two threads each would wait for one another.
test: install
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

test-fast: install
	$(BIN)/python -m pytest -m "not slow"

studies: install
	for study in main known_noise known_noise_mnist1d depth noise sensitivity layers centers; do \
		$(BIN)/python benchmarks/studies.py $$study || exit 1; done

results: install
	$(BIN)/python benchmarks/results.py

recordings: install
	$(BIN)/python benchmarks/record.py

figures: install
	$(BIN)/python benchmarks/figures.py

# Predictions of one's own are neither shown in the outputs nor touched.
notebooks: export LAYERMATCH_PREDICTIONS = $(CURDIR)/.venv/predictions.json
notebooks: install
	$(BIN)/python benchmarks/notebooks.py read
	rm -f $$LAYERMATCH_PREDICTIONS
	$(BIN)/jupyter nbconvert --to notebook --execute --inplace notebooks/*.ipynb
	$(BIN)/jupyter nbconvert --to notebook --coalesce-streams --inplace notebooks/*.ipynb
	$(BIN)/python benchmarks/notebooks.py tidy notebooks/*.ipynb

text: install
	$(BIN)/python benchmarks/notebooks.py write

handout: install
	$(BIN)/python -m layermatch_lite course handout --without-results

solved: install
	$(BIN)/python -m layermatch_lite course solved --solved

# Both show the notebooks as they are and run nothing.
site: install
	$(BIN)/python docs/build.py site

site-teachers: install
	$(BIN)/python docs/build.py site-teachers

slides: install
	$(BIN)/python docs/build.py slides

bench: install
	$(BIN)/python benchmarks/speed.py
	$(BIN)/python benchmarks/labs.py
	$(BIN)/python benchmarks/cifar.py

lint: install
	$(BIN)/ruff check .

clean:
	rm -rf .venv out
