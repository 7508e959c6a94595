import os

from conan import ConanFile
from conan.tools.build import check_min_cppstd
from conan.tools.files import copy, get
from conan.tools.layout import basic_layout

required_conan_version = ">=2.1"


class TroupeConan(ConanFile):
    name = "troupe"
    description = "Actors for C++20: plain classes, awaited calls, one header"
    license = "MIT"
    url = "https://github.com/conan-io/conan-center-index"
    homepage = "https://github.com/troupe-cpp/troupe"
    topics = ("actors", "coroutines", "concurrency", "cpp20", "header-only")
    package_type = "header-library"
    settings = "os", "arch", "compiler", "build_type"
    no_copy_source = True
    options = {"with_json": [True, False], "with_redis": [True, False]}
    default_options = {"with_json": False, "with_redis": False}

    def layout(self):
        basic_layout(self, src_folder="src")

    def requirements(self):
        if self.options.with_json:
            self.requires("nlohmann_json/3.12.0", transitive_headers=True)
        if self.options.with_redis:
            self.requires("hiredis/1.3.0", transitive_headers=True)
            self.requires("openssl/[>=1.1 <4]", transitive_headers=True)

    def package_id(self):
        self.info.clear()

    def validate(self):
        check_min_cppstd(self, 20)

    def source(self):
        get(self, **self.conan_data["sources"][self.version], strip_root=True)

    def package(self):
        copy(self, "LICENSE", self.source_folder, os.path.join(self.package_folder, "licenses"))
        copy(
            self,
            "*.hpp",
            os.path.join(self.source_folder, "include"),
            os.path.join(self.package_folder, "include"),
        )

    def package_info(self):
        self.cpp_info.set_property("cmake_file_name", "troupe")
        self.cpp_info.set_property("pkg_config_name", "troupe")

        core = self.cpp_info.components["core"]
        core.set_property("cmake_target_name", "troupe::core")
        core.set_property("cmake_target_aliases", ["troupe::troupe"])
        core.set_property("pkg_config_name", "troupe")
        core.bindirs = []
        core.libdirs = []
        if self.settings.os in ("Linux", "FreeBSD"):
            core.system_libs.append("pthread")

        if self.options.with_json:
            json = self.cpp_info.components["json"]
            json.set_property("cmake_target_name", "troupe::json")
            json.set_property("pkg_config_name", "troupe-json")
            json.bindirs = []
            json.libdirs = []
            json.requires = ["core", "nlohmann_json::nlohmann_json"]

        if self.options.with_redis:
            redis = self.cpp_info.components["redis"]
            redis.set_property("cmake_target_name", "troupe::redis")
            redis.set_property("pkg_config_name", "troupe-redis")
            redis.bindirs = []
            redis.libdirs = []
            redis.requires = ["core", "hiredis::hiredis", "openssl::openssl"]
